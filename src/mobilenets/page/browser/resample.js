// Resizing as Pillow does it, to the bit (its libImaging/Resample.c and Geometry.c): separable filters that widen when
// shrinking, coefficients in fixed point, one pass rounded to 8 bit before the other.

const PRECISION = 22; // bits of a coefficient behind the point

const sinc = (x) => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI));
const FILTERS = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at(value) {
      const x = Math.abs(value);
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
    },
  },
  lanczos: { support: 3, at: (x) => (-3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/**
 * A picture: `data` has its pixels in RGB, whose (x, y) begins at `start + x * across + y * down`, so that turning one
 * copies nothing.
 * @typedef {{data: Uint8Array | Uint8ClampedArray | Float32Array, width: number, height: number, start: number, across: number, down: number}} Picture
 */

/** A picture of plain rows. @returns {Picture} */
export const rows = (data, width, height, channels) => ({
  data, width, height, start: 0, across: channels, down: channels * width,
});

/**
 * Resample the box [left, upper, right, lower] of a picture to `width` x `height`: its rows first, then its columns,
 * each where there is something to do. @returns {Picture}
 */
export function resize(picture, width, height, filter, box = [0, 0, picture.width, picture.height]) {
  const [left, upper, right, lower] = box.map(Math.fround); // Pillow's C takes float32
  const middle = { corner: 0, linear: 0.5 }[filter];
  if (middle !== undefined) return unfiltered(picture, width, height, middle, [left, upper, right, lower]);
  if (filter === "nearest") return nearest(picture, width, height, [left, upper, right, lower]);
  const along = coefficients(picture.width, left, right, width, FILTERS[filter]);
  const below = coefficients(picture.height, upper, lower, height, FILTERS[filter]);
  let done = picture;
  if (along && below) {
    // Only the rows that the second pass will look at.
    const first = below.starts[0], last = below.starts.at(-1) + below.counts.at(-1);
    done = { ...picture, start: picture.start + first * picture.down, height: last - first };
    below.starts = below.starts.map((start) => start - first);
  }
  if (along) done = pass(done, along);
  return below ? turned(pass(turned(done), below)) : done;
}

// The same pixels with rows and columns exchanged.
const turned = ({ data, width, height, start, across, down }) => ({
  data, width: height, height: width, start, across: down, down: across,
});

// For each place of the output: where its filter begins in the input, how long it is, and its values; null where the
// output is the input.
function coefficients(size, from, to, wanted, { support, at }) {
  if (wanted === size && from === 0 && to === size) return null;
  const scale = Math.fround(to - from) / wanted, wide = Math.max(scale, 1), reach = support * wide, narrow = 1 / wide;
  const most = Math.ceil(reach) * 2 + 1;
  const starts = new Int32Array(wanted), counts = new Int32Array(wanted), values = new Int32Array(wanted * most);
  const weights = new Float64Array(most);
  for (let place = 0; place < wanted; place++) {
    const centre = from + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const count = Math.min(size, Math.trunc(centre + reach + 0.5)) - first;
    let sum = 0;
    for (let i = 0; i < count; i++) sum += weights[i] = at((i + first - centre + 0.5) * narrow);
    for (let i = 0; i < count; i++) {
      const value = (sum === 0 ? weights[i] : weights[i] / sum) * 2 ** PRECISION;
      values[place * most + i] = Math.trunc(value + (value < 0 ? -0.5 : 0.5));
    }
    starts[place] = first;
    counts[place] = count;
  }
  return { starts, counts, values, most };
}

function pass({ data, height, start, across, down }, { starts, counts, values, most }) {
  const width = starts.length;
  const made = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    const row = start + y * down;
    for (let x = 0; x < width; x++, to += 3) {
      let from = row + starts[x] * across, red = 1 << (PRECISION - 1), green = red, blue = red;
      for (let k = x * most, end = k + counts[x]; k < end; k++, from += across) {
        const value = values[k];
        red = (red + data[from] * value) | 0;
        green = (green + data[from + 1] * value) | 0;
        blue = (blue + data[from + 2] * value) | 0;
      }
      made[to] = red >> PRECISION;
      made[to + 1] = green >> PRECISION;
      made[to + 2] = blue >> PRECISION;
    }
  }
  return rows(made, width, height, 3);
}

function nearest({ data, width: wide, height: high, start, across, down }, width, height, [left, upper, right, lower]) {
  const xs = places(left, Math.fround(right - left) / width, width, wide);
  const ys = places(upper, Math.fround(lower - upper) / height, height, high);
  const made = new Uint8ClampedArray(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += 3) {
      if (xs[x] < 0 || ys[y] < 0) continue;
      const from = start + xs[x] * across + ys[y] * down;
      for (let channel = 0; channel < 3; channel++) made[to + channel] = data[from + channel];
    }
  }
  return rows(made, width, height, 3);
}

// Bilinear rules without antialiasing, in float32 and not rounded to levels, as pictures/preprocess.py has them.
function unfiltered({ data, width: wide, height: high, start, across, down }, width, height, middle, [left, upper, right, lower]) {
  const float = Math.fround, between = (one, other, share) => float(one + float(float(other - one) * share));
  const spots = (from, to, wanted, side) => Array.from({ length: wanted }, (_, i) => {
    const at = Math.max(0, float(float((i + middle) * float((to - from) / wanted)) + float(from - middle))), low = Math.min(Math.floor(at), side - 1);
    return [low, Math.min(low + 1, side - 1), float(at - low)];
  });
  const xs = spots(left, right, width, wide), ys = spots(upper, lower, height, high);
  const made = new Float32Array(width * height * 3);
  let to = 0;
  for (const [top, bottom, below] of ys) {
    for (const [here, beside, aside] of xs) {
      for (let channel = 0; channel < 3; channel++) {
        const [first, second] = [top, bottom].map((y) => {
          const line = start + y * down + channel;
          return between(data[line + here * across], data[line + beside * across], aside);
        });
        made[to++] = between(first, second, below);
      }
    }
  }
  return rows(made, width, height, 3);
}

// Added up step by step, as there: a product would round otherwise.
function places(from, step, wanted, size) {
  const found = new Int32Array(wanted);
  let at = from + step * 0.5;
  for (let i = 0; i < wanted; i++, at += step) found[i] = at >= 0 && at < size ? Math.trunc(at) : -1;
  return found;
}

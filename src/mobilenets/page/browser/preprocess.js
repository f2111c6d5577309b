// From an upright picture to the numbers that the network takes, by the preprocessing of model.json alone.

import { resize, rows } from "./resample.js";

/** As Python's round: a half goes to the even neighbour. */
export function round(value) {
  const down = Math.floor(value), rest = value - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
}

/** Geometry only: any picture to `size` x `size`. @returns {import("./resample.js").Picture} */
export function fit(picture, { size, resize: rule, crop_fraction, interpolation, fill }) {
  const { width, height } = picture;
  if (rule === "crop") return resize(picture, size, size, interpolation, cropBox(width, height, size, crop_fraction));
  if (rule === "stretch") return resize(picture, size, size, interpolation);
  const longer = Math.max(width, height);
  const [wide, high] = [width, height].map((side) => Math.max(1, round((size * side) / longer)));
  const small = resize(picture, wide, high, interpolation);
  const canvas = new small.data.constructor(size * size * 3);
  for (let i = 0; i < canvas.length; i++) canvas[i] = fill[i % 3];
  const left = Math.floor((size - wide) / 2), upper = Math.floor((size - high) / 2);
  for (let y = 0; y < high; y++) {
    for (let x = 0; x < wide; x++) {
      const from = small.start + x * small.across + y * small.down, to = 3 * ((y + upper) * size + x + left);
      for (let channel = 0; channel < 3; channel++) canvas[to + channel] = small.data[from + channel];
    }
  }
  return rows(canvas, size, size, 3);
}

/** Which part of a picture the square shows: left, upper, right, lower in its pixels; padding lies beyond it. */
export function seen(width, height, { size, resize: rule, crop_fraction }) {
  if (rule === "crop") return cropBox(width, height, size, crop_fraction);
  if (rule === "stretch") return [0, 0, width, height];
  const ends = [width, height].map((side) => {
    const fitted = Math.max(1, round((size * side) / Math.max(width, height))), before = Math.floor((size - fitted) / 2);
    return [(-before * side) / fitted, ((size - before) * side) / fitted];
  });
  return [ends[0][0], ends[1][0], ends[0][1], ends[1][1]];
}

// What "crop" keeps, in the picture's own pixels.
function cropBox(width, height, size, fraction) {
  const shorter = Math.min(width, height), resized = round(size / fraction);
  const ends = [width, height].map((side) => {
    const scaled = Math.floor((resized * side) / shorter), offset = round((scaled - size) / 2);
    return [(side * offset) / scaled, (side * (offset + size)) / scaled];
  });
  return [ends[0][0], ends[1][0], ends[0][1], ends[1][1]];
}

/**
 * What one picture of S x S becomes for the file: uint8 as it is, or float32 `(value * scale - mean) / std`, each step
 * rounded to float32; in rows of pixels (NHWC) or channel after channel (NCHW).
 */
export function numbers(picture, { scale, mean, std }, { input, layout }) {
  const { data, width, height, start, across, down } = picture;
  const area = width * height, step = layout === "NCHW" ? 1 : 3, plane = layout === "NCHW" ? area : 1;
  const made = input === "uint8" ? new Uint8Array(3 * area) : new Float32Array(3 * area);
  const table = new Float32Array(256), whole = !(data instanceof Float32Array);
  for (let channel = 0; channel < 3; channel++) {
    const number = (value) => {
      if (input === "uint8") return Math.floor(value + 0.5);
      const shifted = Math.fround(Math.fround(value * Math.fround(scale)) - Math.fround(mean[channel]));
      return shifted / Math.fround(std[channel]);
    };
    for (let value = 0; value < 256; value++) table[value] = number(value);
    for (let y = 0, to = channel * plane; y < height; y++) {
      for (let x = 0; x < width; x++, to += step) {
        const value = data[start + x * across + y * down + channel];
        made[to] = whole ? table[value] : number(value);
      }
    }
  }
  return made;
}

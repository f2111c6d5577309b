// From a colour profile to sRGB as LittleCMS converts 8-bit RGB (its cmsopt.c, OptimizeMatrixShaper): a curve for each
// channel, a matrix, and sRGB's curve, in fixed point of 14 bits.

const ONE = 1 << 14;
const SAME = 2; // levels; a profile that changes no colour by more is sRGB by another name

// XYZ of D50 to linear sRGB: the primaries of IEC 61966-2-1, adapted from D65 by Bradford.
const TO_SRGB = [
  [3.134186364236819, -1.6172089589982757, -0.4906940640063841],
  [-0.9787485041906946, 1.9161300967735877, 0.033433399159995617],
  [0.07196392780224682, -0.22899387345320335, 1.4057537328964447],
];

/**
 * What changes the pixels (of 4 bytes) of a picture with this profile to sRGB, in place; null where the profile says
 * nearly sRGB; undefined where it is of another kind than curves and a matrix of RGB, or broken.
 */
export function converter(profile) {
  try {
    return read(profile);
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function read(profile) {
  const data = new DataView(profile.buffer, profile.byteOffset, profile.byteLength);
  const word = (at) => String.fromCharCode(...profile.subarray(at, at + 4));
  if (word(16) !== "RGB " || word(20) !== "XYZ " || word(36) !== "acsp") return undefined;
  const tags = {};
  for (let i = 0, count = Math.min(100, data.getUint32(128)); i < count; i++) {
    tags[word(132 + 12 * i)] = data.getUint32(136 + 12 * i);
  }
  const needed = ["rXYZ", "gXYZ", "bXYZ", "rTRC", "gTRC", "bTRC"];
  if (needed.some((tag) => !(tag in tags)) || ["A2B0", "A2B1", "D2B1"].some((tag) => tag in tags)) return undefined;
  const colorants = needed.slice(0, 3).map((tag) => [8, 12, 16].map((at) => data.getInt32(tags[tag] + at) / 65536));
  const matrix = TO_SRGB.map((row) => colorants.map((column) => fixed(row.reduce((sum, one, i) => sum + one * column[i], 0))));
  const curves = needed.slice(3).map((tag) => curve(data, tags[tag], word(tags[tag])));
  if (curves.some((one) => !one)) return undefined;
  const first = curves.map((one) => Int32Array.from({ length: 256 }, (_, value) => fixed(one(Math.fround(value / 255)))));
  const change = (pixels) => shape(pixels, first, matrix);
  return changes(change) ? change : null;
}

const fixed = (value) => Math.floor(value * ONE + 0.5);

// A tone curve (ICC.1:2022, 10.6 and 10.18) as a function from 0..1 to 0..1.
function curve(data, at, kind) {
  if (kind === "curv") {
    const count = data.getUint32(at + 8);
    if (count === 0) return (x) => x;
    if (count === 1) return (x) => x ** (data.getUint16(at + 12) / 256);
    const table = Int32Array.from({ length: count }, (_, i) => data.getUint16(at + 12 + 2 * i));
    return (x) => between(table, Math.round(x * 65535)) / 65535;
  }
  if (kind !== "para") return undefined;
  const form = data.getUint16(at + 8);
  if (form > 4) return undefined;
  const [g, a = 1, b = 0, c = 0, d = 0, e = 0, f = 0] = Array.from(
    { length: [1, 3, 4, 5, 7][form] }, (_, i) => data.getInt32(at + 12 + 4 * i) / 65536,
  );
  const power = (x) => Math.max(0, a * x + b) ** g;
  if (form === 0) return power;
  if (form < 3) return (x) => (x >= -b / a ? power(x) : 0) + (form === 2 ? c : 0);
  return (x) => (x >= d ? power(x) + e : c * x + f);
}

// A table of 16-bit values at a 16-bit place, in whole numbers.
function between(table, place) {
  if (place === 0xffff) return table[table.length - 1];
  const whole = (table.length - 1) * place, at = whole + Math.floor((whole + 0x7fff) / 0xffff);
  const cell = Math.floor(at / 65536), rest = at % 65536;
  return table[cell] + Math.floor(((table[cell + 1] - table[cell]) * rest + 0x8000) / 65536);
}

const SRGB = Uint8Array.from({ length: ONE + 1 }, (_, place) => {
  const linear = Math.fround(place / ONE);
  const value = linear >= ((0.04045 + 0.055) / 1.055) ** 2.4 ? linear ** (1 / 2.4) * 1.055 - 0.055 : linear * 12.92;
  return Math.round(Math.round(Math.min(1, Math.max(0, value)) * 65535) / 257);
});

function shape(pixels, [red, green, blue], matrix) {
  for (let at = 0; at < pixels.length; at += 4) {
    const r = red[pixels[at]], g = green[pixels[at + 1]], b = blue[pixels[at + 2]];
    for (let channel = 0; channel < 3; channel++) {
      const [x, y, z] = matrix[channel];
      const linear = Math.floor((x * r + y * g + z * b + ONE / 2) / ONE);
      pixels[at + channel] = SRGB[Math.min(ONE, Math.max(0, linear))];
    }
  }
}

function changes(change) {
  const ramp = [0, 32, 64, 96, 128, 159, 191, 223, 255];
  const before = Uint8ClampedArray.from(ramp.flatMap((r) => ramp.flatMap((g) => ramp.flatMap((b) => [r, g, b, 255]))));
  const after = before.slice();
  change(after);
  return before.some((value, i) => Math.abs(value - after[i]) > SAME);
}

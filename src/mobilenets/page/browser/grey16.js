// PNG of 16-bit grey, which browsers cut to its high byte: scaled to 8 bit and rounded, as decode() in Python does.

import { Problem } from "./problem.js";
import { rows } from "./resample.js";

const DEPTH = 24, COLOUR = 25, INTERLACE = 28; // places in the file

/** Whether a PNG is such a picture. Interlaced ones are left to the browser. */
export const isGrey16 = (bytes) => bytes[DEPTH] === 16 && bytes[COLOUR] === 0 && bytes[INTERLACE] === 0;

/** Decode it. @returns {Promise<import("./resample.js").Picture>} */
export async function decodeGrey16(bytes) {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const packed = [];
  let clear = -1;
  try {
    for (let at = 8, kind = 0; kind !== 0x49454e44;) { // IEND
      const size = data.getUint32(at), part = bytes.subarray(at + 8, at + 8 + size);
      kind = data.getUint32(at + 4);
      if (kind === 0x49444154) packed.push(part); // IDAT
      if (kind === 0x74524e53) clear = data.getUint16(at + 8); // tRNS
      at += 12 + size;
    }
    const stream = new Blob(packed).stream().pipeThrough(new DecompressionStream("deflate"));
    const lines = new Uint8Array(await new Response(stream).arrayBuffer());
    return picture(lines, data.getUint32(16), data.getUint32(20), clear);
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) throw new Problem("damaged"); // it ends early, or does not unpack
    throw error;
  }
}

function picture(lines, width, height, clear) {
  const stride = 2 * width, made = new Uint8ClampedArray(4 * width * height).fill(255);
  if (lines.length < height * (stride + 1)) throw new Problem("damaged");
  let above = new Uint8Array(stride);
  for (let y = 0, to = 0; y < height; y++) {
    const start = y * (stride + 1) + 1, line = lines.subarray(start, start + stride);
    unfilter(line, above, lines[start - 1]);
    for (let i = 0; i < stride; i += 2, to += 4) {
      const value = line[i] * 256 + line[i + 1];
      if (value !== clear) made.fill(Math.round(value / 257), to, to + 3);
    }
    above = line;
  }
  return rows(made, width, height, 4);
}

// PNG 1.2, section 6; a pixel is two bytes.
function unfilter(line, above, kind) {
  for (let i = 0; i < line.length; i++) {
    const left = i < 2 ? 0 : line[i - 2], up = above[i], corner = i < 2 ? 0 : above[i - 2];
    if (kind === 1) line[i] += left;
    if (kind === 2) line[i] += up;
    if (kind === 3) line[i] += (left + up) >> 1;
    if (kind === 4) line[i] += nearest(left, up, corner);
  }
}

function nearest(left, up, corner) {
  const guess = left + up - corner;
  const [a, b, c] = [left, up, corner].map((value) => Math.abs(guess - value));
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

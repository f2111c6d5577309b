// From a file to the picture as people see it, by the browser's own decoder: upright, RGB, 8 bit, sRGB, on white. In
// Chromium the pixels are those of decode() in Python, but of 16-bit grey (1 level at most) and where a colour profile is
// converted (1 level for Display P3 and Adobe RGB, a few of them for tone curves in tables).

import { inspect, typeOf } from "./metadata.js";
import { Problem } from "./problem.js";
import { rows } from "./resample.js";

export const MAX_PIXELS = 50_000_000;
const MAX_SIDE = 65_535;
const BAND = 4_000_000; // pixels of a canvas; all browsers take so many

/** Decode a file to an upright picture. @returns {Promise<import("./resample.js").Picture>} */
export async function decode(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (!bytes.length) throw new Problem("empty");
  const type = typeOf(bytes);
  if (!type) throw new Problem("not_for_browsers");
  const { orientation, profiled, inverted } = await inspect(bytes, type);
  if (inverted) throw new Problem("inverted");
  // Without a profile nothing is converted; PNG's gamma, say, counts for nothing in Python either.
  const seen = await pixels(new Blob([bytes], { type }), profiled ? "default" : "none");
  return upright(seen, orientation);
}

async function pixels(blob, colorSpaceConversion) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion, premultiplyAlpha: "none" }).catch(() => {
    throw new Problem("damaged");
  });
  const { width, height } = bitmap;
  try {
    if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) throw new Problem("too_many_pixels");
    const data = new Uint8ClampedArray(width * height * 4), most = Math.min(height, Math.ceil(BAND / width));
    const pen = new OffscreenCanvas(width, most).getContext("2d", { willReadFrequently: true });
    for (let y = 0; y < height; y += most) {
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, width, most);
      pen.drawImage(bitmap, 0, -y);
      data.set(pen.getImageData(0, 0, width, Math.min(most, height - y)).data, y * width * 4);
    }
    return rows(data, width, height, 4);
  } finally {
    bitmap.close();
  }
}

// By EXIF: 2 to 4 mirror and turn; from 5 on rows and columns change places.
function upright(picture, orientation) {
  const { width, height, across, down } = picture;
  const end = { x: (width - 1) * across, y: (height - 1) * down };
  const [start, right, below] = [
    [0, across, down], [end.x, -across, down], [end.x + end.y, -across, -down], [end.y, across, -down],
    [0, down, across], [end.y, -down, across], [end.x + end.y, -down, -across], [end.x, down, -across],
  ][orientation - 1];
  const lying = orientation > 4;
  return { ...picture, width: lying ? height : width, height: lying ? width : height, start, across: right, down: below };
}

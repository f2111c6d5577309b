// What a network looked at, over the picture as it saw it: what drawing/explain.py draws in Python.

const SHARE = 0.6; // of the colours; the rest is the picture
const SHOWN_SIZE = 320; // pixels: smaller pictures are enlarged to at least this
// Matplotlib's inferno at 33 even steps, RGB in hexadecimal.
const INFERNO =
  "0000040403120b0724150b37210c4a2e0a5a3c09654a0c6b57106d63146e70196e7d1e6d89226a962766a32b61af315cbb3755" +
  "c63e4dd14644db4f3be35932eb6528f1711ef67f14f98d0afb9c06fcab0ffbba1ff9ca32f5d949f2e865f3f586fcffa4";
const COLORS = INFERNO.match(/../g).map((pair) => parseInt(pair, 16));

/**
 * Draw evidence, one value for each of n x n cells, in colours over a picture of S x S.
 * @param {import("./resample.js").Picture} picture @param {number[]} centres where the cells' middles are, in pixels
 * @returns {Promise<Blob>} a PNG
 */
export function overlay(picture, evidence, centres) {
  const low = Math.min(...evidence), high = Math.max(...evidence), n = centres.length;
  // What is the same everywhere says nothing of places.
  const even = high - low <= 1e-5 * high;
  const values = evidence.map((value) => (even ? 0 : (value - low) / (high - low)));
  const factor = Math.ceil(SHOWN_SIZE / picture.width), side = picture.width * factor;
  const near = Array.from({ length: side }, (_, at) => between((at + 0.5) / factor - 0.5, centres));
  const canvas = new OffscreenCanvas(side, side), pen = canvas.getContext("2d"), image = pen.createImageData(side, side);
  for (let y = 0, to = 0; y < side; y++) {
    const [row, down] = near[y];
    for (let x = 0; x < side; x++, to += 4) {
      const [column, right] = near[x], at = row * n + column;
      const upper = values[at] * (1 - right) + values[at + 1] * right;
      const lower = values[at + n] * (1 - right) + values[at + n + 1] * right;
      const place = 32 * (upper * (1 - down) + lower * down), step = Math.min(31, Math.floor(place)), rest = place - step;
      const from = picture.start + Math.floor(x / factor) * picture.across + Math.floor(y / factor) * picture.down;
      const [red, green, blue] = picture.data.subarray(from, from + 3);
      const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
      for (let c = 0; c < 3; c++) {
        const color = COLORS[3 * step + c] * (1 - rest) + COLORS[3 * step + 3 + c] * rest;
        image.data[to + c] = Math.round(SHARE * color + (1 - SHARE) * grey);
      }
      image.data[to + 3] = 255;
    }
  }
  pen.putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

// The cell before a pixel, and how far the pixel is on the way to the next one; before the first and behind the last
// cell's middle, that cell.
function between(pixel, centres) {
  let cell = 0;
  while (cell < centres.length - 2 && centres[cell + 1] <= pixel) cell++;
  const way = (pixel - centres[cell]) / (centres[cell + 1] - centres[cell]);
  return [cell, Math.min(1, Math.max(0, way))];
}

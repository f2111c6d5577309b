// From a detector's outputs to boxes in pixels of the upright picture: what runtime/detections.py does in Python.

import { seen } from "./preprocess.js";

/**
 * Decode what the file gave for one picture of width x height: A rows of box codes x, y, w, h and logits, that of the
 * background first. @returns {{label: number, score: number, box: number[]}[]} the best first
 */
export function decode(outputs, { detection, preprocessing, classes }, width, height) {
  const columns = 5 + classes.length, around = anchors(detection), { box_scales: scales, least_score: least } = detection;
  const [left, upper, right, lower] = seen(width, height, preprocessing);
  const begin = [left / width, upper / height], extent = [(right - left) / width, (lower - upper) / height];
  const found = [];
  for (let place = 0; place < around.length / 4; place++) {
    const row = outputs.subarray(place * columns, (place + 1) * columns);
    const scores = (detection.scores === "sigmoid" ? sigmoid : softmax)(row.subarray(4), least);
    if (!scores.length) continue;
    const corners = new Float32Array(4);
    for (let axis = 0; axis < 2; axis++) {
      const side = around[4 * place + 2 + axis];
      const middle = (row[axis] / scales[axis]) * side + around[4 * place + axis];
      const half = (Math.exp(row[2 + axis] / scales[2 + axis]) * side) / 2;
      for (const [at, value] of [[axis, middle - half], [2 + axis, middle + half]]) {
        corners[at] = value * extent[axis] + begin[axis];
      }
    }
    const cut = corners.map((share) => Math.min(1, Math.max(0, share)));
    if (!(cut[2] > cut[0] && cut[3] > cut[1])) continue;
    for (const [label, score] of scores) found.push({ label, score, place, corners, cut });
  }
  found.sort((one, other) => other.score - one.score || one.label - other.label || one.place - other.place);
  return suppressed(found, detection).map(({ label, score, cut }) => ({
    label, score, box: [...cut].map((share, side) => Math.fround(share * (side % 2 ? height : width))),
  }));
}

// Leave out what overlaps a better box of its class; each of `found` comes before those that are worse.
function suppressed(found, { iou, most }) {
  const kept = [];
  for (const one of found) {
    if (kept.length === most) break;
    if (!kept.some((better) => better.label === one.label && overlap(better.corners, one.corners) > Math.fround(iou))) kept.push(one);
  }
  return kept;
}

/** How much two boxes share: intersection over union. */
export function overlap(one, other) {
  const wide = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const high = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const common = Math.max(0, wide) * Math.max(0, high), area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return common / (area(one) + area(other) - common);
}

// Pairs of class and score above the least one. Most anchors are background and end at the first line.
function softmax(logits, least) {
  const logit = Math.log(least / (1 - least)) - 1e-3;
  let best = -Infinity;
  for (let column = 1; column < logits.length; column++) if (logits[column] > best) best = logits[column];
  if (!(best - logits[0] > logit)) return [];
  const greatest = Math.max(best, logits[0]);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - greatest);
  return above(logits, least, (value) => Math.exp(value - greatest) / sum);
}

const sigmoid = (logits, least) => above(logits, least, (value) => 1 / (1 + Math.exp(-value)));

function above(logits, least, share) {
  const found = [];
  for (let column = 1; column < logits.length; column++) {
    const score = Math.fround(share(logits[column]));
    if (score > Math.fround(least)) found.push([column - 1, score]);
  }
  return found;
}

// Middle x and y, width and height of every anchor, map by map, row by row.
let made = null;
function anchors(detection) {
  if (made?.detection === detection) return made.values;
  const values = [];
  detection.maps.forEach((side, map) => {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        for (const [wide, high] of detection.shapes[map]) values.push((x + 0.5) / side, (y + 0.5) / side, wide, high);
      }
    }
  });
  made = { detection, values: Float32Array.from(values) };
  return made.values;
}

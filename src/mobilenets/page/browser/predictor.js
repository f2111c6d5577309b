// From pictures to named probabilities, by the model's own model.json; what runtime/predictor.py does in Python.

import { decode } from "./decode.js";
import { decode as boxes } from "./detections.js";
import { overlay } from "./explain.js";
import { fit, numbers } from "./preprocess.js";

export class Predictor {
  /** `run` takes the numbers of a batch with their shape and gives an output of the batch by name, else the scores. */
  constructor(description, run) {
    this.description = description;
    this.run = run;
  }

  /** Answer a picture's file with the object of `predict --json` without `image`. */
  async answer(file, top) {
    const { none_of_these: unknown, export: exported, detection } = this.description;
    if (detection) return this.shown(await this.found(file), top);
    const fed = await this.prepared(file), answer = this.described(await this.asked(...fed), top ?? TOP);
    if (!unknown || !exported.distance) return answer;
    const [distance] = await this.run(...fed, "distance");
    return { ...answer, known: distance <= unknown.bar, distance };
  }

  /** All boxes that a detector finds in a picture's file, the best first, in pixels of the upright picture. */
  async found(file) {
    const start = performance.now(), decoded = await decode(file), fed = this.fed(decoded);
    performance.measure("mobilenets: decode and preprocess", { start, end: performance.now() });
    const asked = performance.now(), outputs = await this.run(...fed);
    const { detection, classes } = this.description, one = outputs.subarray(0, rows(detection) * (5 + classes.length));
    if (!one.every(Number.isFinite)) throw new Error("the network's output is not finite: export the model again");
    const found = boxes(one, this.description, decoded.width, decoded.height);
    performance.measure("mobilenets: network", { start: asked, end: performance.now() });
    return found;
  }

  // The boxes whose score is high enough, as `detections` of `predict --json`.
  shown(found, top) {
    const { classes, labels, threshold = SHOWN } = this.description;
    const near = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;
    return {
      detections: found.filter(({ score }) => score >= Math.fround(threshold)).slice(0, top).map(({ label, score, box }) => {
        const name = classes[label], group = labels?.classes[name]?.group;
        return { label: name, score: near(score, 6), box: box.map((side) => near(side, 3)), ...(group && { group }) };
      }),
    };
  }

  /** The probability of each class, in the model's order. How long each half took is in the browser's performance log. */
  async probabilities(file) {
    return this.asked(...(await this.prepared(file)));
  }

  async prepared(file) {
    const start = performance.now(), fed = this.fed(await decode(file));
    performance.measure("mobilenets: decode and preprocess", { start, end: performance.now() });
    return fed;
  }

  async asked(whole, shape) {
    const start = performance.now();
    const scores = Array.from(await this.run(whole, shape)).slice(0, this.description.classes.length);
    performance.measure("mobilenets: network", { start, end: performance.now() });
    return this.description.export.output === "probabilities" ? scores : softmax(scores);
  }

  /** Draw what the network looked at for the most probable class: a PNG, as `predict --explain` does. */
  async explain(file) {
    const { preprocessing, export: exported } = this.description;
    const decoded = await decode(file), cells = exported.evidence.length ** 2;
    const evidence = Array.from(await this.run(...this.fed(decoded), "evidence")).slice(0, cells);
    return overlay(fit(decoded, preprocessing), evidence, exported.evidence);
  }

  // What the file takes of a decoded picture, and its shape.
  fed(decoded) {
    const { preprocessing, export: exported } = this.description;
    const picture = exported.geometry === "inside" ? decoded : fit(decoded, preprocessing); // or the file resizes itself
    const one = numbers(picture, preprocessing, exported);
    const batch = exported.batch ?? 1, { width, height } = picture;
    const whole = batch === 1 ? one : new one.constructor(batch * one.length);
    for (let i = 0; batch > 1 && i < batch; i++) whole.set(one, i * one.length);
    return [whole, exported.layout === "NCHW" ? [batch, 3, height, width] : [batch, height, width, 3]];
  }

  described(probabilities, top) {
    if (!probabilities.every(Number.isFinite)) throw new Error("the network's output is not finite: export the model again");
    const { classes, labels, threshold } = this.description;
    const order = descending(probabilities).slice(0, top);
    const groupOf = (label) => labels?.classes[label]?.group;
    const answer = {
      predictions: order.map((place) => {
        const label = classes[place], group = groupOf(label);
        return { label, probability: probabilities[place], ...(group && { group }) };
      }),
    };
    if (labels && classes.every(groupOf)) {
      const names = Object.keys(labels.groups).filter((name) => classes.some((label) => groupOf(label) === name));
      const sums = names.map(() => 0);
      classes.forEach((label, place) => (sums[names.indexOf(groupOf(label))] += probabilities[place]));
      answer.groups = descending(sums).map((place) => ({ label: names[place], probability: sums[place] }));
    }
    if (threshold !== undefined) answer.sure = answer.predictions[0].probability >= threshold;
    return answer;
  }
}

// Classes that are named where nobody says how many.
const TOP = 5;
// Boxes are shown from this score on where the model says nothing else.
const SHOWN = 0.5;
const rows = ({ maps, shapes }) => maps.reduce((sum, side, map) => sum + side * side * shapes[map].length, 0);

// The places from the greatest value to the least; equal ones stay in order.
const descending = (values) => values.map((_, place) => place).sort((one, other) => values[other] - values[one]);

/** From scores to probabilities that sum to 1. */
export function softmax(scores) {
  const greatest = Math.max(...scores), powers = scores.map((score) => Math.exp(score - greatest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

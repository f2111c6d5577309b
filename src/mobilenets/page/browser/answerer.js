// What the page asks: here the model in the browser itself. (page/server/answerer.js asks a server instead.)

import { MAX_PIXELS } from "./decode.js";
import { overlap } from "./detections.js";
import { Predictor, softmax } from "./predictor.js";
import { Problem } from "./problem.js";

export const docs = null;

// What goes wrong only here; the rest is in words.js.
export const PROBLEMS = {
  en: {
    not_loaded: "The model could not be loaded. Is the connection bad, or the folder incomplete?",
    not_for_browsers: "This is not a picture that can be read here. JPEG, PNG, WebP, BMP and GIF are.",
    inverted: "Browsers show this CMYK picture inverted. Save it as RGB.",
    differs: "This browser changes pixels when it reads a picture, perhaps to prevent tracking: answers may be wrong.",
  },
  zh: {
    not_loaded: "模型无法加载：网络连接不好，或者文件夹不完整？",
    not_for_browsers: "这不是可在此识别的图片；支持 JPEG、PNG、WebP、BMP 和 GIF。",
    inverted: "浏览器会把这种 CMYK 图片显示为反色，请另存为 RGB。",
    differs: "此浏览器在读取图片时会改动像素（可能为了防止跟踪），结果可能不正确。",
  },
};

// How far a probability may be off: what comes from rounding in this precision.
const DIFFERENCE = { float32: 1e-3, float16: 1e-3, int8: 0.05 };
// Boxes of this score are compared, and must overlap so much.
const SURE = 0.1, ALIKE = 0.9;
const ROOT = new URL("../", import.meta.url);
const opening = open();
opening.catch(() => {}); // told when asked

/** What the model is: its name, classes, labels, size and limits. Throws a Problem where it cannot be loaded. */
export async function model() {
  const { description } = await opening;
  const { architecture, classes, labels, preprocessing, export: exported } = description;
  return {
    name: architecture.name, size: preprocessing.size, classes, labels, explains: exported.evidence.length > 0,
    limits: { pixels: MAX_PIXELS },
  };
}

/** Answer a picture as `predict --json` does, with `top` classes or all boxes. Throws a Problem where it cannot be read. */
export async function predict(file, top) {
  return (await opening).answer(file, top);
}

/** A picture, as a Blob, of what the network looked at. */
export async function explain(file) {
  return (await opening).explain(file);
}

/** The probability of each class, in the model's order. */
export async function probabilities(file) {
  return (await opening).probabilities(file);
}

/** Ask about a picture that both sides can draw. Throws a Problem where the answer is not what the export said. */
export async function check() {
  const predictor = await opening, { precision, output, drawn: about } = predictor.description.export;
  if (predictor.description.detection) return checkBoxes(predictor, about, DIFFERENCE[precision]);
  const { width, height, outputs } = about, expected = output === "probabilities" ? outputs : softmax(outputs);
  const found = await predictor.probabilities(await drawn(width, height));
  const difference = Math.max(...expected.map((value, place) => Math.abs(value - found[place])));
  if (!(difference <= DIFFERENCE[precision])) throw new Problem("differs", `differs by ${difference}`);
}

// Every sure box that the export named must be found, and be as sure.
async function checkBoxes(predictor, { width, height, outputs }, allowed) {
  const found = await predictor.found(await drawn(width, height));
  for (let at = 0; at < outputs.length; at += 6) {
    const corners = outputs.slice(at, at + 4), [score, label] = outputs.slice(at + 4, at + 6);
    const alike = (one) => one.label === label && Math.abs(one.score - score) <= allowed && overlap(one.box, corners) >= ALIKE;
    if (score >= SURE && !found.some(alike)) throw new Problem("differs", `no box ${corners} of score ${score}`);
  }
}

// Waves from wide to narrow, as model.json says it (Drawn in runtime/exported.py).
function drawn(width, height) {
  const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d"), image = pen.createImageData(width, height);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      for (let c = 0; c < 3; c++) image.data[at + c] = ((x * x * (c + 1) + 3 * y * (x + 5 * c)) >> 5) & 255;
      image.data[at + 3] = 255;
    }
  }
  pen.putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

async function open() {
  const description = JSON.parse(new TextDecoder().decode(await bytes("model.json", "no-cache")));
  const { file, sha256 } = description.export;
  const [ort, wasm, weights] = await Promise.all([
    import("./ort.wasm.bundle.min.mjs").catch(() => { throw new Problem("not_loaded"); }),
    bytes("page/ort-wasm-simd-threaded.wasm"),
    bytes(file, "no-cache"),
  ]);
  // Only where the page came by https, or from this machine, is there a hash.
  if (crypto.subtle && hex(await crypto.subtle.digest("SHA-256", weights)) !== sha256[file]) throw new Problem("not_loaded");
  ort.env.wasm.wasmBinary = wasm;
  const session = await ort.InferenceSession.create(new Uint8Array(weights), { executionProviders: ["wasm"] });
  const type = description.export.input;
  // One run after another: a session does not take two at once.
  let last = Promise.resolve(), asked = null, outputs = null;
  const run = (data, shape, name = session.outputNames[0]) => {
    if (asked !== data) { // another output of the same numbers needs no other run
      const feeds = { [session.inputNames[0]]: new ort.Tensor(type, data, shape) };
      [asked, outputs] = [data, last.then(() => session.run(feeds))];
      last = outputs.catch(() => {});
    }
    return outputs.then((found) => found[name].data);
  };
  return new Predictor(description, run);
}

async function bytes(path, cache = "default") {
  const response = await fetch(new URL(path, ROOT), { cache }).catch(() => null);
  if (!response?.ok) throw new Problem("not_loaded", `${path}: ${response?.status ?? "no answer"}`);
  return response.arrayBuffer();
}

const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");

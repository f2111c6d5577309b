// The page: takes pictures, asks its answerer, shows what it says. It loads nothing from elsewhere.

import * as answerer from "./answerer.js";
import { forGood, ofThisTab } from "./storage.js";
import { PROBLEMS, WORDS } from "./words.js";

const LANGUAGE = "mobilenets.language", HISTORY = "mobilenets.history";
const MAX_HISTORY = 24;
const UNHEARD = ["lost", "not_loaded"]; // nobody has looked at the picture
const at = (id) => document.getElementById(id);

let language = forGood.get(LANGUAGE) || (navigator.language.startsWith("zh") ? "zh" : "en");
let model = null;
let shown = null;
let problem = null; // {code, error}
// An entry: {image, small, size, answer | problem}, and while the page is open its file.
let history = JSON.parse(ofThisTab.get(HISTORY) || "[]").filter((entry) => entry.answer || entry.problem);

const word = (key) => WORDS[language][key];
const told = ({ code, message }) => ({ code, error: message });

function reason({ code, error }) {
  const { body_bytes, pixels } = model?.limits ?? {};
  const own = answerer.PROBLEMS?.[language][code];
  const words = own ?? (Object.hasOwn(PROBLEMS[language], code) ? PROBLEMS[language][code] : error);
  return words.replace("{mib}", body_bytes / 2 ** 20).replace("{megapixels}", pixels / 1e6)
    .replace("{tenthousands}", pixels / 1e4);
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// What the model calls things, in the page's language: else in English, else as its folder.
function named(part, fallback) {
  const names = part?.names ?? {};
  return names[language] ?? Object.entries(names).find(([code]) => code.startsWith(`${language}-`))?.[1] ?? names.en ?? fallback;
}
const className = (label) => named(model?.labels?.classes[label], label);
const groupName = (group) => named(model?.labels?.groups[group], group);
const groupColor = (group) => model?.labels?.groups[group]?.color ?? null;
const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`; // not to be torn apart

// Black or white, whichever is read better on the colour (WCAG 2.2, relative luminance).
function inkOn(color) {
  const [r, g, b] = [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16) / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000" : "#fff";
}

// A colour for each class of a detector: Okabe and Ito's, then hues far apart.
const COLORS = ["#d55e00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#cc79a7", "#e69f00"];
function colorOf(label) {
  const place = model?.classes.indexOf(label) ?? 0;
  return COLORS[place] ?? `hsl(${Math.round(place * 222.5) % 360} 75% 55%)`;
}

// How many of each class, the surest first: "2 × dog, cat".
function counted(detections) {
  const counts = new Map();
  for (const { label } of detections) counts.set(label, (counts.get(label) ?? 0) + 1);
  const words = [...counts].map(([label, count]) => (count > 1 ? `${count} × ${className(label)}` : className(label)));
  return words.join(language === "zh" ? "、" : ", ") || word("nothing");
}

function outline(tag, attributes, text) {
  const element = document.createElementNS(at("boxes").namespaceURI, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text) element.textContent = text;
  return element;
}

// The boxes over the picture, in its own pixels; the surest on top.
function draw(detections, [width, height]) {
  const high = Math.max(width, height) / 30, parts = [];
  at("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const { label, score, box: [x, y, right, lower] } of [...detections].reverse()) {
    const place = { x, y, width: right - x, height: lower - y };
    parts.push(outline("rect", { ...place, class: "edge" }), outline("rect", { ...place, class: "box", stroke: colorOf(label), "data-label": label }));
    const above = y > 1.2 * high ? y - 0.25 * high : y + high;
    parts.push(outline("text", { x: x + 0.15 * high, y: above, "font-size": high, "stroke-width": 0.18 * high }, `${className(label)} ${percent(score)}`));
  }
  at("boxes").replaceChildren(...parts);
}

// A small copy for the history, and the picture's size; what the browser cannot show has none.
async function shrink(file) {
  try {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, 320 / Math.max(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    const pen = canvas.getContext("2d");
    pen.fillStyle = "#fff"; // as the network sees what is transparent
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const size = [bitmap.width, bitmap.height];
    bitmap.close();
    return { small: canvas.toDataURL("image/jpeg", 0.8), size };
  } catch {
    return { small: null };
  }
}

// One after another, also what comes in the meantime.
let queue = Promise.resolve();
const take = (files) => (queue = queue.then(() => takeAll(files)));

async function takeAll(files) {
  say("working");
  problem = null;
  for (const file of files) await takeOne(file);
  say(problem);
}

async function takeOne(file) {
  const bound = model?.limits.body_bytes;
  if (bound && file.size > bound - 1024) {
    problem = { code: "body_too_large" };
    return;
  }
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    problem = { code: "unreadable" };
    return;
  }
  const entry = { image: file.name || "picture", ...(await shrink(file)), file };
  try {
    entry.answer = await answerer.predict(file);
  } catch (error) {
    problem = entry.problem = told(error);
    if (UNHEARD.includes(problem.code)) return;
  }
  history.unshift(entry);
  release(history.splice(MAX_HISTORY));
  remember();
  show(entry);
}

const release = (entries) => {
  for (const { url, drawn } of entries) for (const one of [url, drawn]) if (one) URL.revokeObjectURL(one);
};

function remember() {
  ofThisTab.set(HISTORY, JSON.stringify(history.map(({ file, url, drawn, ...rest }) => rest)));
}

// A word, or a problem.
let said = null;
function say(what) {
  said = what;
  const calm = !what || typeof what === "string";
  at("status").textContent = !what ? "" : calm ? word(what) : reason(what);
  at("status").className = calm ? "" : "bad";
}

function bar(name, probability, color) {
  const item = make("li");
  const words = make("div", "words");
  words.append(make("span", "", name), make("span", "", percent(probability)));
  const track = make("div", "track");
  const fill = make("div", "fill");
  fill.style.width = `${100 * probability}%`;
  if (color) fill.style.background = color;
  track.append(fill);
  item.append(words, track);
  return item;
}

function chip(group) {
  const mark = make("span", "chip", groupName(group));
  const color = groupColor(group) ?? "#5a6875";
  mark.style.background = color;
  mark.style.color = inkOn(color);
  return mark;
}

function show(entry) {
  shown = entry;
  const { answer } = entry;
  at("result").hidden = !answer;
  if (answer) {
    const boxes = answer.detections, best = answer.predictions?.[0];
    // The bin is the group with the most of the probability, which need not be that of the best class.
    const bin = answer.groups?.[0]?.label ?? best?.group;
    if (entry.file) entry.url ??= URL.createObjectURL(entry.file);
    at("picture").src = (entry.explained && entry.drawn) || entry.url || entry.small || "";
    at("picture").alt = entry.image;
    at("unsure").hidden = answer.sure !== false && answer.known !== false;
    at("unsure").textContent = word(answer.known === false ? "unknown" : "unsure");
    at("best").textContent = boxes ? counted(boxes) : className(best.label);
    at("result").classList.toggle("found", Boolean(boxes));
    at("boxes").toggleAttribute("hidden", !boxes?.length || !entry.size || !(entry.url || entry.small));
    if (boxes && entry.size) draw(boxes, entry.size);
    at("bin").replaceChildren(...(bin ? [chip(bin)] : []));
    at("bars").replaceChildren(...(boxes
      ? boxes.map((one) => bar(className(one.label), one.score, colorOf(one.label)))
      : answer.predictions.map((one) => bar(className(one.label), one.probability, one.group && groupColor(one.group)))));
    at("bins").hidden = !answer.groups;
    at("binbars").replaceChildren(...(answer.groups ?? []).map((one) => bar(groupName(one.label), one.probability, groupColor(one.label))));
    at("explain").hidden = !model?.explains || !entry.file;
    at("explain").textContent = word(entry.explained ? "original" : "explain");
    at("explain").setAttribute("aria-pressed", String(Boolean(entry.explained)));
  }
  showHistory();
}

function showHistory() {
  at("past").hidden = history.length === 0;
  at("history").replaceChildren(...history.map((entry) => {
    const item = make("li");
    const button = make("button");
    button.type = "button";
    if (entry === shown) button.setAttribute("aria-current", "true");
    if (entry.small) {
      const picture = make("img");
      picture.src = entry.small;
      picture.alt = entry.image;
      button.append(picture);
    }
    if (entry.answer?.detections) {
      button.append(counted(entry.answer.detections));
    } else if (entry.answer) {
      const best = entry.answer.predictions[0];
      const group = entry.answer.groups?.[0]?.label ?? best.group;
      if (group && groupColor(group)) {
        const dot = make("span", "dot");
        dot.style.background = groupColor(group);
        button.append(dot);
      }
      button.append(`${entry.answer.known === false ? "✗ " : entry.answer.sure === false ? "? " : ""}${className(best.label)} · ${percent(best.probability)}`);
    } else {
      button.append(make("span", "wrong", reason(entry.problem)));
    }
    button.addEventListener("click", () => {
      say(entry.problem ?? null);
      show(entry);
    });
    item.append(button);
    return item;
  }));
}

async function explain() {
  const entry = shown;
  if (!entry.drawn) {
    say("explaining");
    at("explain").disabled = true;
    try {
      entry.drawn = URL.createObjectURL(await answerer.explain(entry.file));
    } catch (error) {
      return say(told(error));
    } finally {
      at("explain").disabled = false;
    }
    say(null);
  }
  entry.explained = !entry.explained;
  if (shown === entry) show(entry);
}

function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = word(element.dataset.text);
  at("wrong").textContent = reason({ code: "wrong_token" });
  document.title = word("title");
  at("language").textContent = word("other");
  at("language").lang = language === "zh" ? "en" : "zh-CN";
  if (model) {
    at("about").textContent = word("about").replace("{name}", model.name)
      .replace("{classes}", model.classes.length).replaceAll("{size}", model.size);
  }
  say(said);
  if (shown) show(shown); else showHistory();
}

const pictures = (list) => [...(list ?? [])];

at("choose").addEventListener("click", () => at("files").click());
at("photograph").addEventListener("click", () => at("camera").click());
for (const id of ["files", "camera"]) {
  at(id).addEventListener("change", async (event) => {
    const files = pictures(event.target.files);
    event.target.value = ""; // so that the same picture can be chosen again
    if (files.length) await take(files);
  });
}
document.addEventListener("paste", (event) => {
  const files = pictures(event.clipboardData?.files);
  if (files.length) {
    event.preventDefault();
    take(files);
  }
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const files = pictures(event.dataTransfer?.files);
  if (files.length) take(files);
});
at("explain").addEventListener("click", explain);
at("forget").addEventListener("click", () => {
  release(history);
  history = [];
  shown = null;
  at("result").hidden = true;
  remember();
  say(null);
  showHistory();
});
at("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  forGood.set(LANGUAGE, language);
  speak();
});

if (answerer.docs) at("docs").href = answerer.docs;
at("docs").hidden = !answerer.docs;
speak();
say("loading");
try {
  model = await answerer.model();
  if (said === "loading") say(null);
  speak();
  await answerer.check?.();
} catch (error) {
  say(told(error));
}
speak();
if (!shown && history[0]?.answer) show(history[0]);
document.body.dataset.ready = "true";

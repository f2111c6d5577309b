// The page: takes pictures, asks the server, shows what it says. It loads nothing from elsewhere.

const WORDS = {
  en: {
    title: "What is on the picture?", choose: "Choose pictures", photograph: "Take a photo",
    hint: "Drop a picture here, paste one, or", unsure: "Not sure: it could be", bins: "By group",
    history: "Earlier", forget: "Forget", docs: "For programs: the HTTP interface", explain: "What did it look at?",
    original: "Show the picture", token: "This server asks for a token", enter: "Go on", other: "中文",
    working: "Looking …", lost: "The server does not answer. Is it still running?", big: "The file is too big: at most {} MiB.",
    about: "{name} · {classes} classes · {size} × {size} pixels", explaining: "Drawing …",
  },
  zh: {
    title: "图片里是什么？", choose: "选择图片", photograph: "拍照",
    hint: "把图片拖到这里、粘贴，或者", unsure: "不确定，可能是", bins: "按类别合计",
    history: "历史记录", forget: "清除", docs: "供程序使用：HTTP 接口", explain: "它看了哪里？",
    original: "显示原图", token: "此服务器需要令牌", enter: "继续", other: "English",
    working: "正在识别…", lost: "服务器没有响应，它还在运行吗？", big: "文件太大：最多 {} MiB。",
    about: "{name} · {classes} 个类别 · {size} × {size} 像素", explaining: "正在绘制…",
  },
};
const LANGUAGE = "mobilenets.language", TOKEN = "mobilenets.token", HISTORY = "mobilenets.history";
const MAX_HISTORY = 24;
const at = (id) => document.getElementById(id);

let language = localStorage.getItem(LANGUAGE) || (navigator.language.startsWith("zh") ? "zh" : "en");
let model = null;
let shown = null;
let problem = null; // [word, filling] or a text of the server's
// An entry: {image, small, answer | error}, and while the page is open its file.
let history = JSON.parse(sessionStorage.getItem(HISTORY) || "[]");

const word = (key) => WORDS[language][key];

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

async function ask(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(TOKEN);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    await askForToken();
  }
}

let asking = null;
function askForToken() {
  asking ??= new Promise((resolve) => {
    sessionStorage.removeItem(TOKEN);
    at("token").value = "";
    at("ask").showModal();
    at("ask").addEventListener("close", () => {
      // HTTP headers hold no other characters.
      sessionStorage.setItem(TOKEN, at("token").value.replace(/[^\x21-\x7e]/g, ""));
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}
at("ask").addEventListener("cancel", (event) => event.preventDefault());

async function reasonOf(response) {
  try {
    return (await response.json()).error ?? response.statusText;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}

// A small copy for the history; what the browser cannot show has none.
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
    bitmap.close();
    return canvas.toDataURL("image/jpeg", 0.8);
  } catch {
    return null;
  }
}

async function take(files) {
  say(["working"]);
  problem = null;
  for (const file of files) await takeOne(file);
  say(problem);
}

async function takeOne(file) {
  const bound = model?.limits.body_bytes;
  if (bound && file.size > bound - 1024) {
    problem = ["big", Math.floor(bound / 2 ** 20)];
    return;
  }
  const form = new FormData();
  form.append("file", file, file.name || "picture");
  const entry = { image: file.name || "picture", small: await shrink(file), file };
  try {
    const response = await ask("/predict?top=5", { method: "POST", body: form });
    if (response.ok) {
      entry.answer = (await response.json())[0];
    } else {
      entry.error = await reasonOf(response);
      problem = entry.error;
    }
  } catch {
    problem = ["lost"];
    return;
  }
  history = [entry, ...history].slice(0, MAX_HISTORY);
  remember();
  show(entry);
}

function remember() {
  const kept = history.map(({ file, url, drawn, ...rest }) => rest);
  try {
    sessionStorage.setItem(HISTORY, JSON.stringify(kept));
  } catch {
    // Full, or not allowed: the history then lasts as long as the page.
  }
}

let said = null;
function say(what) {
  said = what;
  const text = !what ? "" : typeof what === "string" ? what : word(what[0]).replace("{}", what[1] ?? "");
  at("status").textContent = text;
  at("status").className = what && !["working", "explaining"].includes(what[0]) ? "bad" : "";
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
    const best = answer.predictions[0];
    // The bin is the group with the most of the probability, which need not be that of the best class.
    const bin = answer.groups?.[0]?.label ?? best.group;
    if (entry.file) entry.url ??= URL.createObjectURL(entry.file);
    at("picture").src = (entry.explained && entry.drawn) || entry.url || entry.small || "";
    at("picture").alt = entry.image;
    at("unsure").hidden = answer.sure !== false;
    at("best").textContent = className(best.label);
    at("bin").replaceChildren(...(bin ? [chip(bin)] : []));
    at("bars").replaceChildren(...answer.predictions.map((one) => bar(className(one.label), one.probability, one.group && groupColor(one.group))));
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
    if (entry.answer) {
      const best = entry.answer.predictions[0];
      const group = entry.answer.groups?.[0]?.label ?? best.group;
      if (group && groupColor(group)) {
        const dot = make("span", "dot");
        dot.style.background = groupColor(group);
        button.append(dot);
      }
      button.append(`${entry.answer.sure === false ? "? " : ""}${className(best.label)} · ${percent(best.probability)}`);
    } else {
      button.append(make("span", "wrong", entry.error));
    }
    button.addEventListener("click", () => {
      say(entry.error ?? null);
      show(entry);
    });
    item.append(button);
    return item;
  }));
}

async function explain() {
  const entry = shown;
  if (!entry.drawn) {
    say(["explaining"]);
    const form = new FormData();
    form.append("file", entry.file, entry.image);
    try {
      const response = await ask("/explain", { method: "POST", body: form });
      if (!response.ok) return say(await reasonOf(response));
      entry.drawn = URL.createObjectURL(await response.blob());
    } catch {
      return say(["lost"]);
    }
    say(null);
  }
  entry.explained = !entry.explained;
  if (shown === entry) show(entry);
}

function speak() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = word(element.dataset.text);
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

const pictures = (list) => [...(list ?? [])].filter((file) => file.size > 0);

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
  for (const { url, drawn } of history) for (const one of [url, drawn]) if (one) URL.revokeObjectURL(one);
  history = [];
  shown = null;
  at("result").hidden = true;
  remember();
  say(null);
  showHistory();
});
at("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem(LANGUAGE, language);
  speak();
});

speak();
try {
  const response = await ask("/model");
  if (response.ok) model = await response.json();
  else say(await reasonOf(response));
} catch {
  say(["lost"]);
}
speak();
if (!shown && history[0]?.answer) show(history[0]);
document.body.dataset.ready = "true";

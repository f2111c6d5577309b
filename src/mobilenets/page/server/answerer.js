// What the page asks: here the server. (page/browser/answerer.js has the model in the browser instead.)
// Addresses are relative to the page, so that it works below a path too, behind a proxy that maps /ml/ to the server.

import { Problem } from "./problem.js";
import { ofThisTab } from "./storage.js";

export const docs = "docs";

const TOKEN = "mobilenets.token";
const at = (id) => document.getElementById(id);

/** What the model is: its name, classes, labels, size and limits, and whether it explains. */
export const model = async () => (await ask("model")).json().catch(lost);

/** Answer a picture as `predict --json` does. Throws a Problem where it does not. */
export async function predict(file, top) {
  const [answer] = await (await ask(top ? `predict?top=${top}` : "predict", form(file))).json().catch(lost);
  return answer;
}

/** A picture, as a Blob, of what the network looked at. */
export const explain = async (file) => (await ask("explain", form(file))).blob().catch(lost);

function lost() {
  throw new Problem("lost");
}

function form(file) {
  const body = new FormData();
  body.append("file", file, file.name || "picture");
  return { method: "POST", body };
}

async function ask(path, options = {}) {
  for (;;) {
    const token = ofThisTab.get(TOKEN);
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(path, { ...options, headers }).catch(lost);
    if (response.ok) return response;
    if (response.status !== 401) throw await problemOf(response);
    await askForToken(Boolean(token));
  }
}

let asking = null;
function askForToken(wrong) {
  asking ??= new Promise((resolve) => {
    ofThisTab.set(TOKEN, "");
    at("token").value = "";
    at("wrong").hidden = !wrong;
    at("ask").showModal();
    at("ask").addEventListener("close", () => {
      // HTTP headers hold no other characters.
      ofThisTab.set(TOKEN, at("token").value.replace(/[^\x21-\x7e]/g, ""));
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}
at("ask").addEventListener("cancel", (event) => event.preventDefault());

async function problemOf(response) {
  try {
    const { code, error } = await response.json();
    if (typeof error === "string") return new Problem(code, error);
  } catch {
    // Not the server itself, but one in between.
  }
  return new Problem(undefined, `${response.status} ${response.statusText}`);
}

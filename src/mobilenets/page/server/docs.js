// /openapi.json as a page; nothing is loaded from elsewhere.

function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// Text with `code` in it.
function prose(tag, text) {
  const element = make(tag);
  text.split("`").forEach((part, index) => element.append(index % 2 ? make("code", part) : part));
  return element;
}

function table(rows) {
  const whole = make("table");
  for (const [name, meaning] of rows) {
    const row = make("tr");
    const cell = make("td");
    cell.append(make("code", name));
    row.append(cell, prose("td", meaning));
    whole.append(row);
  }
  return whole;
}

// Of nullable types only the real one.
const typeOf = (schema) => schema.type ?? schema.anyOf?.map((one) => one.type).filter((one) => one !== "null").join(" or ") ?? "";

const api = await (await fetch("openapi.json")).json();
document.getElementById("title").textContent = `${api.info.title}, ${api.info.version}`;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, about] of Object.entries(methods)) {
    const card = make("section", undefined, "card");
    const head = make("h2");
    head.append(make("span", `${method.toUpperCase()} `, "method"), make("code", path));
    card.append(head, make("p", about.summary));
    if (about.description) card.append(prose("p", about.description));
    if (about.requestBody) card.append(make("p", `Body: ${Object.keys(about.requestBody.content).join(" or ")}`));
    const parameters = (about.parameters ?? []).map(({ name, schema, description }) => {
      const preset = schema.default === undefined || schema.default === null ? "" : `, ${schema.default} unless given`;
      return [`?${name}=`, `${description ?? ""} (${typeOf(schema)}${preset})`];
    });
    const answers = Object.entries(about.responses).map(([status, { description }]) => [status, description]);
    card.append(table([...parameters, ...answers]));
    if (path === "/predict") card.append(make("pre", `curl -F file=@photo.jpg '${new URL("predict?top=3", document.baseURI)}'`));
    document.getElementById("paths").append(card);
  }
}
document.body.dataset.ready = "true";

"use strict";
const make = (name, text, kind) => {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  if (kind) node.className = kind;
  return node;
};
const resolve = (schema, components, depth = 0) => {
  if (!schema || typeof schema !== "object" || depth > 6) return schema;
  if (schema.$ref) return resolve(components[schema.$ref.split("/").pop()], components, depth + 1);
  if (Array.isArray(schema)) return schema.map((part) => resolve(part, components, depth + 1));
  return Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, resolve(value, components, depth + 1)]));
};
const shape = (content, components) => {
  const body = content && Object.values(content)[0];
  return body && body.schema ? JSON.stringify(resolve(body.schema, components), null, 2) : null;
};
const call = (method, path, operation, components) => {
  const box = make("details");
  box.dataset.words = `${method} ${path} ${operation.summary || ""}`.toLowerCase();
  const head = make("summary");
  head.append(make("span", method.toUpperCase(), "method"), make("span", path, "path"), make("span", operation.summary || ""));
  const inside = make("div");
  if ((operation.parameters || []).length) {
    const table = make("table");
    for (const row of operation.parameters) {
      const line = make("tr");
      line.append(make("td", row.name, "path"), make("td", row.in), make("td", row.description || ""));
      table.append(line);
    }
    inside.append(make("h4", "Parameters"), table);
  }
  const body = operation.requestBody && shape(operation.requestBody.content, components);
  if (body) inside.append(make("h4", "Body"), make("pre", body));
  for (const [status, answer] of Object.entries(operation.responses || {})) {
    inside.append(make("h4", `${status === "default" ? "Refusal" : status}: ${answer.description || ""}`));
    const text = status === "default" ? null : shape(answer.content, components);
    if (text) inside.append(make("pre", text));
  }
  box.append(head, inside);
  return box;
};
fetch("/openapi.json").then((answer) => answer.json()).then((api) => {
  document.getElementById("about").textContent = api.info.description;
  const groups = new Map();
  for (const [path, operations] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(operations)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(call(method, path, operation, api.components.schemas));
    }
  const main = document.getElementById("calls");
  main.replaceChildren();
  for (const [tag, calls] of groups) main.append(make("h2", tag), ...calls);
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    for (const box of main.querySelectorAll("details")) box.hidden = !box.dataset.words.includes(wanted);
  });
}).catch((error) => { document.getElementById("calls").textContent = `The document could not be read: ${error}`; });

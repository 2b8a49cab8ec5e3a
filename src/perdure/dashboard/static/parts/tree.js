// Any JSON document, readable: closed where it is long, opened on demand.

import { el } from "../core/dom.js";
import { number, visible, words } from "../core/format.js";

const FEW = 200; // children shown of one node

export function tree(document) {
  return el("div", { class: "tree" }, children(document));
}

function children(value) {
  const entries = Object.entries(value).slice(0, FEW);
  const more = Object.keys(value).length - entries.length;
  return [
    entries.map(([name, child]) => branch(Array.isArray(value) ? `[${name}]` : words(name), child)),
    more > 0 && el("p", { class: "dim" }, `and ${more} more`),
  ];
}

function branch(name, value) {
  if (value === null || typeof value !== "object") {
    return el("div", { class: "leaf" }, el("span", { class: "tree-name" }, name), el("span", { class: "tree-value" }, leaf(value)));
  }
  const size = Array.isArray(value) ? `${value.length} items` : `${Object.keys(value).length} entries`;
  const node = el("details", null, el("summary", null, el("span", { class: "tree-name" }, name), el("span", { class: "dim" }, size)));
  node.addEventListener("toggle", () => {
    if (node.open && node.childElementCount === 1) node.append(el("div", { class: "tree-children" }, children(value)));
  });
  return node;
}

function leaf(value) {
  if (value === null) return "none";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "number" ? number(value) : visible(value);
}

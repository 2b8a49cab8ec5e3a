// Elements made from data. `morph` makes what is on the page equal to what was made, and keeps focus and scrolling.
//
// Text only ever enters the page as text: there is no way here to write markup.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "oninput", "onchange", "onkeydown", "onsubmit", "onpointermove", "onpointerleave", "onload", "onerror"];

/** An element. `properties`: attributes, `class`, `style` (an object), handlers, `key` (identity among siblings), `value`. */
export function el(tag, properties, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) set(node, name, value);
  append(node, children);
  return node;
}

/** A part that looks after its own content: `part.element` takes the place of this mark. */
export function island(part) {
  const mark = document.createElement("div");
  mark.island = part;
  return mark;
}

export function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  append(node, children);
  return node;
}

function set(node, name, value) {
  if (value === undefined || value === null || value === false) return;
  if (HANDLERS.includes(name)) node[name] = value;
  else if (name === "style") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
  else if (name === "key") node.key = value;
  else if (name === "value") { node.value = value; node.wanted = value; }
  else node.setAttribute(name, value === true ? "" : value);
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  if (node.wanted !== undefined) node.value = node.wanted; // a select has its options only now
}

/** Make the children of `host` equal to `fresh`, a node or a list of nodes. */
export function show(host, ...fresh) {
  const wanted = el("div", null, fresh);
  morphChildren(host, wanted);
}

function adopt(node) {
  if (node.island) {
    node.island.element.island = node.island;
    return node.island.element;
  }
  for (const child of [...node.childNodes]) {
    const own = adopt(child);
    if (own !== child) child.replaceWith(own);
  }
  return node;
}

function morph(old, fresh) {
  if (old.island || fresh.island) {
    if (old.island !== fresh.island) old.replaceWith(adopt(fresh));
  } else if (old.nodeType === Node.TEXT_NODE && fresh.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
  } else if (old.nodeName !== fresh.nodeName || old.key !== fresh.key) {
    old.replaceWith(adopt(fresh));
  } else {
    morphAttributes(old, fresh);
    morphChildren(old, fresh);
    if (fresh.wanted !== undefined && old !== document.activeElement && old.value !== fresh.wanted) old.value = fresh.wanted;
  }
}

function morphAttributes(old, fresh) {
  for (const { name } of [...old.attributes]) {
    if (name !== "style" && name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (name !== "style" && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
}

function morphChildren(old, fresh) {
  const keyed = new Map();
  for (const child of old.childNodes) if (child.key !== undefined) keyed.set(child.key, child);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const match = child.key !== undefined ? keyed.get(child.key) : at?.key === undefined ? at : null;
    if (!match) {
      old.insertBefore(adopt(child), at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    morph(match, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

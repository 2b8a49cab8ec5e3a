// Times that keep ticking: "3 s ago" grows without any request.

import { el } from "./dom.js";
import { ago, moment } from "./format.js";

/** How long ago something was, as it is read now; the moment itself on hover. */
export function since(at) {
  if (at === null || at === undefined) return el("span", { class: "dim" }, "never");
  const when = new Date(at * 1000);
  return el("time", { datetime: when.toISOString(), title: moment(at), "data-at": at }, ago(at));
}

export function tick() {
  const now = Date.now() / 1000;
  for (const node of document.querySelectorAll("time[data-at]")) {
    const text = ago(Number(node.dataset.at), now);
    if (node.textContent !== text) node.textContent = text;
  }
}

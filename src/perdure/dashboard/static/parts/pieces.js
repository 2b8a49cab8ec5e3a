// Small pieces that several pages are made of.

import { el } from "../core/dom.js";
import { count, progress } from "../core/format.js";
import { icon, kindOf } from "../core/state.js";

/** A titled panel. */
export function panel(title, aside, ...content) {
  return el("section", { class: "panel" },
    title && el("header", { class: "panel-head" }, el("h2", null, title), aside && el("div", { class: "aside" }, aside)),
    content);
}

/** A sentence in which `words` in backticks are code. */
export function prose(text) {
  return text.split("`").map((part, n) => (n % 2 ? el("code", null, part) : part));
}

/** What is said where there is nothing to show: what would appear here, and what to do. */
export function empty(title, hint) {
  return el("div", { class: "empty" }, el("p", { class: "empty-title" }, title), hint && el("p", null, prose(hint)));
}

/** A figure with its name; `note` is a line below. */
export function figure(name, value, note) {
  return el("div", { class: "figure" }, el("dt", null, name), el("dd", null, value), note && el("p", { class: "note" }, note));
}

/** A bar of progress; failed units are a part of their own. */
export function bar(done, failed, total, state) {
  const share = total ? Math.min(1, done / total) : state === "completed" ? 1 : 0;
  const bad = total ? Math.min(1, failed / total) : 0;
  return el("div", {
    class: `bar is-${kindOf(state)}`, role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100,
    "aria-valuenow": Math.floor(100 * share), "aria-valuetext": progress(share),
    "aria-label": total ? `${count(done)} of ${count(total)} done${failed ? `, ${count(failed)} failed` : ""}` : "progress",
  },
  el("i", { style: { width: `${100 * share}%` } }),
  bad > 0 && el("b", { style: { width: `${Math.max(1, 100 * bad)}%` } }));
}

/** One of several, by click or by arrow keys; options: [{value, label, state?}]. */
export function chooser(label, options, chosen, choose) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const buttons = [...event.currentTarget.querySelectorAll("button")];
    const next = buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  };
  return el("div", { class: "chooser", role: "radiogroup", "aria-label": label, onkeydown: move },
    options.map((option) => el("button", {
      key: option.value, type: "button", role: "radio", "aria-checked": String(option.value === chosen),
      tabindex: option.value === chosen ? 0 : -1, onclick: () => choose(option.value),
    }, option.state && icon(option.state), option.label)));
}

export function select(label, options, chosen, choose) {
  return el("label", { class: "field" }, el("span", null, label),
    el("select", { onchange: (event) => choose(event.target.value), value: chosen },
      options.map(({ value, label: text }) => el("option", { value, key: value }, text))));
}

export function search(label, value, type) {
  return el("input", { class: "search", type: "search", "aria-label": label, placeholder: label, value, oninput: (event) => type(event.target.value) });
}

/** Waits until typing pauses. */
export function settled(act, milliseconds = 250) {
  let timer = 0;
  return (...values) => { clearTimeout(timer); timer = setTimeout(() => act(...values), milliseconds); };
}

const classOf = (column) => [column.number && "number", column.class].filter(Boolean).join(" ") || null;

/** An ordinary small table. columns: [{title, cell(row), number?, class?}] */
export function table(label, columns, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", null,
      el("thead", null, el("tr", null, columns.map((c) => el("th", { scope: "col", class: classOf(c) }, c.title)))),
      el("tbody", null, rows.map((row, n) => el("tr", { class: row.class },
        columns.map((c) => el("td", { class: classOf(c) }, c.cell(row, n))))))));
}

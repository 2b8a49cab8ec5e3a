// Some hundred units as tiles by group: state, time, and the key itself. Arrow keys move between them.

import { el } from "../core/dom.js";
import { count, duration, visible } from "../core/format.js";
import { icon, kindOf } from "../core/state.js";

export function tiles(units, chosen, choose) {
  const groups = Map.groupBy(units, (unit) => unit.group ?? "");
  const order = [...groups.keys()].sort((a, b) => (a === "") - (b === "") || a.localeCompare(b));
  const first = chosen ?? units[0]?.key;
  return el("div", { class: `tiles ${order.length > 1 ? "grouped" : ""}`, onkeydown: move },
    order.map((name) => el("section", { key: name, class: "tile-group" },
      (name || order.length > 1) && el("h3", null, visible(name) || "other", " ", summary(groups.get(name))),
      el("div", { class: "tile-row" }, groups.get(name).map((unit) => tile(unit, chosen, first, choose))))));
}

function summary(units) {
  const done = units.filter((unit) => unit.state === "done").length;
  return el("span", { class: "dim" }, `${count(done)}/${count(units.length)}`);
}

function tile(unit, chosen, first, choose) {
  const time = unit.state === "done" || unit.state === "failed" ? duration(unit.seconds) : "";
  const told = `${visible(unit.key) || "unnamed"}: ${unit.state}${time && `, ${time}`}${unit.reason ? `, ${visible(unit.reason).slice(0, 300)}` : ""}`;
  return el("button", {
    key: unit.key, type: "button", class: `tile is-${kindOf(unit.state)}`, title: told, "aria-label": told,
    "aria-pressed": String(unit.key === chosen), tabindex: unit.key === first ? 0 : -1, onclick: () => choose(unit.key),
  },
  icon(unit.state), el("bdi", null, visible(unit.key) || "(no name)"), el("small", null, time));
}

function move(event) {
  const all = [...event.currentTarget.querySelectorAll("button")];
  const at = all.indexOf(document.activeElement);
  if (at < 0) return;
  const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1, ArrowDown: beside(all, at, 1), ArrowUp: beside(all, at, -1) }[event.key];
  if (next === undefined || !all[next]) return;
  event.preventDefault();
  for (const button of all) button.tabIndex = -1;
  all[next].tabIndex = 0;
  all[next].focus();
}

/** The nearest tile of the row above or below. */
function beside(all, at, direction) {
  const here = all[at].getBoundingClientRect();
  let best, distance = Infinity, row = null;
  for (let n = at + direction; all[n]; n += direction) {
    const box = all[n].getBoundingClientRect();
    if (Math.abs(box.top - here.top) < 2) continue;
    row ??= box.top;
    if (Math.abs(box.top - row) > 2) break;
    if (Math.abs(box.left - here.left) < distance) [best, distance] = [n, Math.abs(box.left - here.left)];
  }
  return best;
}

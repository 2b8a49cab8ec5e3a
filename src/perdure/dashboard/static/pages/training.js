// Curves of a loop over all its iterations, each interruption marked where it happened.

import { get, of } from "../core/api.js";
import { el, island } from "../core/dom.js";
import { count, moment, plural, visible, words } from "../core/format.js";
import { linkTo } from "../core/place.js";
import { badge, icon, phaseState } from "../core/state.js";
import { Chart } from "../parts/chart.js";
import { bar, empty, panel, select } from "../parts/pieces.js";

const FIRST = ["loss", "auc", "learning_rate"];
const ALIKE = new Map([["lr", "learning_rate"]]);

export class TrainingPage {
  constructor(context) {
    Object.assign(this, { context, chosen: null, history: null, charts: new Map() });
  }

  open(rest) {
    if (rest) this.chosen = rest;
  }

  async load(overview) {
    const chosen = this.chosen; // none: the loop that runs, or that logged last
    const loop = chosen ?? overview.phases.find((phase) => phase.kind === "range" && phase.state === "running")?.name;
    const history = await get(of(this.context.id, "history"), { loop });
    if (chosen !== this.chosen) return;
    if (history.loop !== this.history?.loop) this.charts.clear();
    this.history = history;
  }

  view(overview) {
    const { history } = this;
    if (!history) return el("p", { class: "empty" }, "Loading…");
    if (!history.loops.length) return empty("No training loop yet", "What a loop logs with `run.log` is drawn here, epoch by epoch.");
    const phase = overview.phases.find((one) => one.name === history.loop);
    return [
      el("div", { class: "page-head" },
        select("Loop", [...new Set([...history.loops, history.loop])].map((loop) => ({ value: loop, label: visible(loop) })), history.loop, (loop) => { location.hash = linkTo(this.context.id, "training", loop); }),
        phase && el("div", { class: "loop-state" }, badge(phaseState(phase, overview)), el("span", null, `${count(phase.reached)}${phase.total ? ` of ${count(phase.total)}` : ""} iterations`), phase.total ? bar(phase.reached, 0, phase.total, phaseState(phase, overview)) : null)),
      history.positions.length ? this.#curves() : empty("Nothing was logged in this loop.", "Call `run.log(loss=...)` in its body, and curves appear here."),
      this.#interruptions(),
    ];
  }

  #curves() {
    const { positions, series, interruptions, every, provisional_from: provisional } = this.history;
    const x = positions.map((position) => position + 1);
    const marks = interruptions.map((one) => ({ ...one, x: one.position + 0.5 }));
    const groups = grouped(series);
    for (const [name, lines] of groups) {
      if (!this.charts.has(name)) this.charts.set(name, new Chart({ title: name, sync: "training" }));
      this.charts.get(name).update({ x, lines, marks, provisionalFrom: provisional === null ? null : provisional + 1 });
    }
    return [
      el("p", { class: "chart-key dim" }, `${plural(positions.length, "point")}${every > 1 ? `, one in ${count(every)},` : ""} over iterations counted from 1. `,
        marks.length > 0 && el("span", { class: "key-mark" }, icon("interrupted"), "dashed: an interruption."), provisional !== null && [" ", el("span", { class: "key-shade" }, el("i"), "shaded: not saved yet.")], " Drag to zoom, double-click for all."),
      el("div", { class: "charts" }, [...groups.keys()].map((name) => el("div", { class: "panel", key: name }, island(this.charts.get(name))))),
    ];
  }

  #interruptions() {
    const list = this.history.interruptions;
    if (!list.length) return null;
    const last = this.history.positions.at(-1) ?? -1;
    return panel(plural(list.length, "interruption"), plural(this.history.saves.length, "snapshot"),
      el("ul", { class: "events" }, list.map((one, n) => el("li", { key: n }, el("time", { class: "dim" }, moment(one.at)),
        el("span", null, icon("interrupted"), ` ${one.outcome === "running" ? "killed" : words(one.outcome ?? "interrupted")}; ${one.position > last ? `it stands after iteration ${count(one.position)}` : `it went on with iteration ${count(one.position + 1)}`}`)))));
  }
}

/** Lines that belong on one chart: "loss" with "val_loss". The best-known first. */
function grouped(series) {
  const found = new Map();
  for (const [name, values] of Object.entries(series)) {
    if (!values.some((value) => typeof value === "number" || typeof value === "string")) continue; // a text: no finite number
    const bare = name.replace(/^(val|train|test)_/, "");
    const group = ALIKE.get(bare) ?? bare;
    if (!found.has(group)) found.set(group, Object.create(null)); // a metric may be called __proto__
    found.get(group)[name] = values;
  }
  const rank = (name) => { const n = FIRST.indexOf(name); return n < 0 ? FIRST.length : n; };
  return new Map([...found].sort(([a], [b]) => rank(a) - rank(b)));
}

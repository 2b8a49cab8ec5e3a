// The units of a phase: a grid by group, models x folds where they hold loops, and a list with every reason.

import { get, of } from "../core/api.js";
import { since } from "../core/clock.js";
import { el, island } from "../core/dom.js";
import { count, duration, plural, visible } from "../core/format.js";
import { linkTo } from "../core/place.js";
import { badge, icon, kindOf, wordOf } from "../core/state.js";
import { LongTable } from "../parts/long_table.js";
import { Mosaic } from "../parts/mosaic.js";
import { chooser, empty, panel, search, select, settled } from "../parts/pieces.js";
import { tiles } from "../parts/tiles.js";

const TILES = 600; // units up to which each is an element of its own
const usual = (phases) => {
  const tops = phases.filter((phase) => !phase.name.includes("/"));
  return (tops.find((one) => one.state === "running") ?? tops.find((one) => one.failed) ?? tops.findLast((one) => one.state !== "new") ?? phases[0])?.name ?? null;
};
const sum = (counts) => Object.values(counts).reduce((all, n) => all + n, 0);

export class UnitsPage {
  constructor(context) {
    Object.assign(this, { context, phase: null, state: "all", text: "", chosen: null, answer: null, grid: null });
    this.mosaic = new Mosaic({ choose: (key) => this.#choose(key) });
    this.list = new LongTable({ label: "Units", open: (unit) => this.#choose(unit.key), columns: [
      { title: "Unit", width: "minmax(90px, 1.2fr)", cell: (unit) => el("bdi", null, visible(unit.key) || "(no name)") },
      { title: "State", width: "104px", cell: (unit) => badge(unit.state) },
      { title: "Group", width: "minmax(80px, 1fr)", narrow: false, optional: (unit) => unit.group, cell: (unit) => el("bdi", null, visible(unit.group)) },
      { title: "Took", width: "68px", number: true, cell: (unit) => duration(unit.at ? unit.seconds : null) },
      { title: "Tries", width: "48px", number: true, narrow: false, cell: (unit) => count(unit.tries) },
      { title: "When", width: "92px", number: true, narrow: false, cell: (unit) => since(unit.at) },
      { title: "Reason", width: "minmax(120px, 2fr)", narrow: false, class: "reason", optional: (unit) => unit.reason, cell: (unit) => el("bdi", null, visible(unit.reason)) },
    ] });
    this.type = settled((text) => { this.text = text; this.context.redraw(); }, 120);
  }

  open(rest) {
    if (rest) Object.assign(this, { phase: rest, chosen: null });
  }

  async load(overview) {
    const phases = this.#phases(overview);
    if (!phases.some((phase) => phase.name === this.phase)) this.phase = usual(phases);
    if (this.phase === null) return;
    const { id } = this.context, phase = this.phase;
    const nested = overview.phases.some((one) => one.name.startsWith(`${phase}/`));
    const [answer, grid] = await Promise.all([get(of(id, "units"), { phase, limit: 10000 }), nested ? get(of(id, "grid"), { phase }) : null]);
    if (phase === this.phase) Object.assign(this, { answer, grid: grid?.rows?.length ? grid : null });
  }

  #phases(overview) {
    return overview.phases.filter((phase) => phase.kind !== "range" && phase.kind !== "step" && phase.kind !== null);
  }

  view(overview) {
    const phases = this.#phases(overview);
    if (!phases.length || !this.answer) return empty("No units yet", "Units of `run.map` and `run.each` appear here one by one as they are done.");
    const { counts } = this.answer;
    const units = this.answer.units.map((unit) => ({ ...unit, id: unit.key }));
    const text = this.text.toLowerCase();
    const fitting = units.filter((unit) => (this.state === "all" || unit.state === this.state) && (!text || `${unit.key}\n${unit.group ?? ""}\n${unit.reason ?? ""}`.toLowerCase().includes(text)));
    const states = Object.entries(counts).filter(([, n]) => n);
    this.list.update(fitting);
    const many = fitting.length > TILES;
    const waiting = this.state === "all" && !text ? (counts.new ?? 0) + (counts.left ?? 0) - units.filter((unit) => unit.state === "new" || unit.state === "left").length : 0;
    if (many) this.mosaic.update(fitting, this.chosen, waiting);
    return [
      el("div", { class: "page-head" },
        select("Phase", phases.map((phase) => ({ value: phase.name, label: visible(phase.name) })), this.phase, (name) => { location.hash = linkTo(this.context.id, "units", name); }),
        el("div", { class: "filters" },
          chooser("State", [{ value: "all", label: `All ${count(sum(counts))}` }, ...states.map(([state, n]) => ({ value: state, state, label: `${wordOf(state)} ${count(n)}` }))], this.state, (state) => { this.state = state; this.context.redraw(); }),
          search("Find a unit", this.text, this.type))),
      this.#failures(counts.failed),
      this.grid && panel("Models and folds", "select one for its curves", this.#grid()),
      fitting.length === 0 ? empty("No unit fits this filter.")
        : [!this.grid && panel("Grid", plural(fitting.length, "unit"), many ? island(this.mosaic) : tiles(fitting, this.chosen, (key) => this.#choose(key)),
          waiting > 0 && !many && el("p", { class: "note" }, `${plural(waiting, "more unit")} not started yet.`)),
          this.#detail(units.find((unit) => unit.key === this.chosen)),
          panel("List", waiting > 0 ? `${count(fitting.length)} begun, ${count(waiting)} not started` : plural(fitting.length, "unit"), island(this.list))],
    ];
  }

  #failures(failed) {
    return failed ? el("p", { class: "notice is-failed" }, icon("failed"), el("span", null, `${plural(failed, "unit")} failed and ${failed === 1 ? "was" : "were"} set aside; the others went on. “Retry failed” tries again.`)) : null;
  }

  #grid() {
    const { rows, columns, cells } = this.grid;
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Models and folds" }, el("table", { class: "fold-grid" },
      el("thead", null, el("tr", null, el("th", null, ""), columns.map((column) => el("th", { scope: "col" }, el("bdi", null, visible(column)))))),
      el("tbody", null, rows.map((row, r) => el("tr", null, el("th", { scope: "row" }, el("bdi", null, visible(row))), columns.map((column, c) => el("td", null, this.#cell(cells[r]?.[c], `${row}, ${column}`))))))));
  }

  #cell(cell, name) {
    if (!cell) return el("span", { class: "dim" }, "–");
    const text = cell.total ? `${count(cell.done)}/${count(cell.total)}` : cell.state === "completed" || cell.state === "done" ? "done" : cell.done ? count(cell.done) : "";
    const content = [icon(cell.state), el("span", null, text)];
    const properties = { class: `fold is-${kindOf(cell.state)}`, "aria-label": `${visible(name)}: ${cell.state} ${text}`, title: `${visible(name)}: ${cell.state}` };
    return cell.path ? el("a", { ...properties, href: linkTo(this.context.id, "training", cell.path) }, content) : el("span", properties, content);
  }

  #detail(unit) {
    if (!unit) return null;
    return el("section", { class: `panel detail is-${kindOf(unit.state)}`, "aria-live": "polite" },
      el("header", { class: "panel-head" }, el("h2", null, el("bdi", null, visible(unit.key) || "(no name)")),
        el("div", { class: "aside" }, badge(unit.state), el("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => this.#choose(null) }, "×"))),
      el("dl", { class: "facts" },
        [["Group", unit.group && visible(unit.group)], ["Took", unit.at && duration(unit.seconds)], ["Tries", unit.tries > 0 && count(unit.tries)], ["Recorded", unit.at && since(unit.at)]]
          .filter(([, value]) => value).map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value)))),
      unit.reason && el("pre", { class: "wrap" }, visible(unit.reason)));
  }

  #choose(key) {
    this.chosen = key;
    this.context.redraw();
  }
}

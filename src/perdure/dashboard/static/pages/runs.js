// All runs under the folder, those that need eyes first.

import { get } from "../core/api.js";
import { since } from "../core/clock.js";
import { el } from "../core/dom.js";
import { count, duration, percent, progress, visible } from "../core/format.js";
import { linkTo } from "../core/place.js";
import { badge, proofBadge, stateOf, wordOf } from "../core/state.js";
import { bar, chooser, empty, search } from "../parts/pieces.js";

const ORDER = ["running", "failed", "damaged", "unreadable", "newer", "interrupted", "stopped", "new", "completed"];

export class RunsPage {
  constructor(context) {
    Object.assign(this, { context, runs: [], folder: "", text: "", state: "all" });
  }

  async load() {
    const { folder, runs } = await get("runs");
    this.folder = folder;
    this.runs = runs.map((run) => ({ ...run, shown: stateOf(run) }))
      .sort((a, b) => ORDER.indexOf(a.shown) - ORDER.indexOf(b.shown) || (b.last_saved_at ?? 0) - (a.last_saved_at ?? 0) || a.name.localeCompare(b.name, "en", { numeric: true }));
  }

  view() {
    if (!this.runs.length) return this.#none();
    const text = this.text.toLowerCase();
    const rows = this.runs.filter((run) => (this.state === "all" || run.shown === this.state) && `${run.name} ${run.target}`.toLowerCase().includes(text));
    return [
      el("div", { class: "page-head" }, el("h1", null, "Runs"), this.#filters()),
      rows.length ? this.#table(rows) : empty("No run fits this filter."),
    ];
  }

  #none() {
    return el("div", { class: "empty" }, el("p", { class: "empty-title" }, "No runs yet"),
      el("p", null, "Nothing was recorded under ", el("code", null, visible(this.folder)), ". Start one, and it appears here at once:"),
      el("pre", null, "perdure run exoplanet --preset tiny"));
  }

  #filters() {
    const states = ORDER.filter((state) => this.runs.some((run) => run.shown === state));
    const options = [{ value: "all", label: `All ${count(this.runs.length)}` },
      ...states.map((state) => ({ value: state, state, label: `${wordOf(state)} ${count(this.runs.filter((run) => run.shown === state).length)}` }))];
    return el("div", { class: "filters" },
      chooser("State", options, this.state, (state) => { this.state = state; this.context.redraw(); }),
      search("Find a run", this.text, (value) => { this.text = value; this.context.redraw(); }));
  }

  #table(rows) {
    const titles = ["Run", "State", "Progress", "Time left", "Last save", "Failed", "Attempts", "Saving costs", ""];
    return el("table", { class: "runs" },
      el("thead", null, el("tr", null, titles.map((title) => el("th", { scope: "col" }, title)))),
      el("tbody", null, rows.map((run) => this.#row(run))));
  }

  #row(run) {
    const cell = (label, className, ...content) => el("td", { "data-label": label, class: className }, content);
    const active = run.shown === "running";
    const known = (value) => (run.message ? null : value); // nothing is known of a run that cannot be read
    return el("tr", { key: run.id, onclick: (event) => { if (!event.target.closest("a")) location.hash = linkTo(run.id, "overview"); } },
      cell("", "run-name", el("a", { href: linkTo(run.id, "overview") }, el("bdi", null, visible(run.name))), el("small", { title: visible(run.message ?? run.target) }, el("bdi", null, visible(run.message ?? run.target)))),
      cell("", "run-state", badge(run.shown)),
      cell("", "run-progress", el("div", null, el("span", null, progress(run.progress)), el("small", null, el("bdi", null, run.shown === "completed" ? "" : visible(run.phase)))), bar(run.progress ?? 0, 0, 1, run.shown)),
      cell("Time left", "number", active && run.eta_s ? duration(run.eta_s) : "–"),
      cell("Last save", "number", run.message ? "–" : since(run.last_saved_at)),
      cell("Failed", "number", el("span", { class: run.failed ? "bad" : null }, count(known(run.failed)))),
      cell("Attempts", "number", count(known(run.attempts))),
      cell("Saving costs", "number", el("span", null, percent(run.overhead, 2), el("small", { class: "dim" }, run.budget === null || run.overhead === null ? "" : ` of ${percent(run.budget)}`))),
      cell("", "run-proof", proofBadge(run.proof)));
  }
}

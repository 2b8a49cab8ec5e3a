// What a run found: the gate, metrics with intervals, plots, models, and the whole document.

import { fileOf, get, of } from "../core/api.js";
import { since } from "../core/clock.js";
import { el, island } from "../core/dom.js";
import { number, percent, plural, visible, words } from "../core/format.js";
import { badge, icon, kindOf } from "../core/state.js";
import { breakdown, confusion, confusionIn, intervalsIn, metricTable, named } from "../parts/intervals.js";
import { openPictures } from "../parts/pictures.js";
import { chooser, empty, panel, table } from "../parts/pieces.js";
import { tree } from "../parts/tree.js";

const TITLES = {
  training_curves: "Training, all epochs", roc: "ROC curve", precision_recall: "Precision and recall", confusion_matrix: "Confusion matrix",
  reliability: "Reliability: do probabilities mean what they say?", recovery_map: "Injected planets that were found",
  gallery: "Light curves: hits and misses, whole and folded", saliency: "What the network looks at", blocks: "AUC by forward block",
  equity: "Long-short portfolio after costs", regimes: "Regimes", importance: "SHAP: importance of features", swarm: "SHAP: what each feature adds",
  waterfall: "SHAP: one forecast explained", proof: "Proof",
};
const HEADLINE = ["metrics/metrics", "assessment/overall"]; // where the two pipelines keep what counts most

export class ResultsPage {
  constructor(context) {
    Object.assign(this, { context, answer: null, shown: null, text: "" });
  }

  async load() {
    this.answer = await get(of(this.context.id, "results"));
    const text = JSON.stringify(this.answer.results);
    if (text !== this.text) Object.assign(this, { text, document: this.answer.results === null ? null : { element: tree(this.answer.results) }, found: intervalsIn(this.answer.results) });
  }

  view(overview) {
    const { results, plots, report, gate, registry } = this.answer;
    const link = report && el("p", { class: "page-head" }, el("a", { class: "button", href: fileOf(this.context.id, report), target: "_blank", rel: "noopener" }, "Open the report in a page of its own"));
    if (results === null && !plots.length && !gate && !registry) return [link, empty(overview.state === "completed" ? "No results" : "No results yet", overview.state === "completed" ? "This run exported none. A script leaves them with `run.export(\"results.json\", ...)`." : "Metrics and plots appear here when the run has made them.")];
    const gateRows = gate ?? [];
    return [
      link,
      el("div", { class: "columns even" },
        el("div", { class: "stack" }, this.#metrics(), gateRows.length > 0 && registry && this.#registry(registry)),
        el("div", { class: "stack" }, gateRows.length > 0 && this.#gate(gateRows), this.#confusion(), !gateRows.length && registry && this.#registry(registry))),
      plots.length > 0 && this.#plots(plots),
      this.#breakdowns(),
      this.document && panel("All results", "results.json", island(this.document)),
    ];
  }

  #metrics() {
    const { groups } = this.found;
    if (!groups.length) return null;
    const rank = ([path]) => { const n = HEADLINE.indexOf(path.join("/")); return n < 0 ? HEADLINE.length + path.length : n; };
    const sorted = [...groups].sort((a, b) => rank(a) - rank(b));
    const [[, metrics]] = sorted;
    const level = this.answer.results.assessment?.level ?? this.answer.results.level;
    const said = typeof level === "number" ? `${percent(level, 0)} intervals` : "with intervals";
    return [
      panel("Metrics", said, metricTable("Metrics", metrics)),
      sorted.slice(1, 4).map(([other, values]) => (Object.values(values).every((entry) => entry?.value === null) ? null : panel(title(other), said, metricTable(title(other), values)))),
    ];
  }

  #confusion() {
    const counts = confusionIn(this.answer.results);
    return counts && panel("Confusion matrix", null, confusion(counts));
  }

  #gate(rows) {
    const failed = rows.filter((row) => row.verdict === "failed").length, warned = rows.filter((row) => row.verdict === "warned").length;
    const verdict = failed ? "failed" : warned ? "warned" : "passed";
    return panel("Promotion gate", badge(verdict, failed ? `closed: ${failed} of ${rows.length} checks failed` : warned ? `open, ${plural(warned, "warning")}` : `open: all ${rows.length} checks passed`),
      table("Checks of the gate", [
        { title: "", cell: (row) => el("span", { class: `verdict is-${kindOf(row.verdict)}` }, icon(row.verdict), el("span", { class: "sr" }, visible(row.verdict))) },
        { title: "Check", cell: (row) => visible(row.check ?? row.name) },
        { title: "Value", number: true, class: "roomy", cell: (row) => number(row.value) },
        { title: "Limit", number: true, class: "roomy", cell: (row) => number(row.threshold) },
        { title: "Found", class: "found", cell: (row) => visible(row.text) },
      ], rows));
  }

  #registry(registry) {
    const versions = registry.versions ?? [];
    return panel("Models", visible(registry.name ?? ""),
      el("dl", { class: "facts" }, Object.entries(registry).filter(([name, value]) => name !== "name" && (value === null || typeof value !== "object"))
        .map(([name, value]) => el("div", null, el("dt", null, words(name)), el("dd", null, value === null ? "none" : typeof value === "number" ? `version ${value}` : visible(value))))),
      versions.length > 0 && table("Versions", [
        { title: "Version", number: true, cell: (v) => v.version },
        { title: "Is", cell: (v) => (v.version === registry.champion ? badge("completed", "champion") : v.version === registry.challenger ? badge("new", "challenger") : "") },
        { title: "From run", cell: (v) => el("bdi", null, visible(v.run)) },
        { title: "Made", cell: (v) => since(v.created_at ?? v.at) },
      ], versions),
      (registry.deployments ?? []).length > 0 && el("ul", { class: "events" }, registry.deployments.slice(-6).reverse().map((one) => el("li", null, since(one.at), el("span", null, `${visible(one.action)} version ${one.version}${one.reason ? `: ${visible(one.reason)}` : ""}${one.forced ? " (forced)" : ""}`)))));
  }

  #plots(plots) {
    const pictures = plots.map((plot) => ({ source: fileOf(this.context.id, plot.path), title: TITLES[plot.path.replace(/\.\w+$/, "")] ?? visible(plot.title ?? words(plot.path)) }));
    return panel("Plots", `${plural(plots.length, "plot")}; select one to enlarge`, el("div", { class: "plots" }, pictures.map((picture, n) => el("button", {
      key: picture.source, type: "button", class: "plot", onclick: () => openPictures(pictures, n),
    }, el("img", { src: picture.source, alt: "", loading: "lazy" }), el("span", null, picture.title)))));
  }

  #breakdowns() {
    const { lists } = this.found;
    const shown = lists.filter(([path]) => !/checks$/.test(path.at(-1)));
    if (!shown.length) return null;
    const at = Math.min(this.shown ?? 0, shown.length - 1);
    const [path, rows] = shown[at];
    return panel("In detail", null,
      chooser("Breakdown", shown.map(([one], n) => ({ value: n, label: title(one) })), at, (n) => { this.shown = n; this.context.redraw(); }),
      breakdown(title(path), rows, path.at(-1).replace(/^by_/, "").replace(/s$/, "")));
  }
}

function title(path) {
  const text = named(path.at(-1) ?? "results");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

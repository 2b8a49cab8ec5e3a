// Every generation: where it stands, how large it is, whether its digest is known, what saving it cost.

import { get, of } from "../core/api.js";
import { since } from "../core/clock.js";
import { el, island } from "../core/dom.js";
import { bytes, count, duration, moment, plural, visible } from "../core/format.js";
import { badge, icon } from "../core/state.js";
import { LongTable } from "../parts/long_table.js";
import { empty, figure, panel, select } from "../parts/pieces.js";

const STATES = { kept: ["completed", "kept"], removed: ["new", "removed"], superseded: ["new", "replaced"], damaged: ["failed", "damaged"] };

export class SnapshotsPage {
  constructor(context) {
    Object.assign(this, { context, snapshots: null, loop: "", chosen: null });
    this.list = new LongTable({ label: "Snapshots", height: 520, open: (row) => { this.chosen = row.id; context.redraw(); }, columns: [
      { title: "Loop", width: "minmax(60px, 1.4fr)", cell: (s) => el("bdi", null, visible(s.loop)) },
      { title: "Gen.", width: "52px", number: true, narrow: false, cell: (s) => count(s.generation) },
      { title: "Iterations", width: "72px", number: true, cell: (s) => `${count(s.position)}${s.batch ? ` + ${count(s.batch)}` : ""}` },
      { title: "Size", width: "60px", number: true, cell: (s) => bytes(s.size) },
      { title: "File", width: "104px", narrow: false, cell: (s) => stateBadge(s) },
      { title: "SHA-256", width: "112px", narrow: false, class: "mono", cell: (s) => (s.sha256 ? s.sha256.slice(0, 12) : "pending") },
      { title: "Pause", width: "68px", number: true, narrow: false, cell: (s) => duration(s.stall_s) },
      { title: "Saved", width: "88px", number: true, cell: (s) => since(s.at) },
    ] });
  }

  async load() {
    const { snapshots } = await get(of(this.context.id, "snapshots"));
    this.snapshots = snapshots.map((s) => ({ ...s, id: `${s.loop} ${s.generation}` })).sort((a, b) => b.at - a.at);
  }

  view() {
    if (!this.snapshots?.length) return empty("No snapshots yet", "A loop saves its whole state here as it goes: weights, optimiser, random streams.");
    const loops = [...new Set(this.snapshots.map((s) => s.loop))].sort();
    const rows = this.snapshots.filter((s) => !this.loop || s.loop === this.loop);
    const kept = rows.filter((s) => s.state === "kept");
    this.list.update(rows);
    return [
      el("div", { class: "page-head" },
        loops.length > 1 && select("Loop", [{ value: "", label: `All ${loops.length} loops` }, ...loops.map((loop) => ({ value: loop, label: visible(loop) }))], this.loop, (loop) => { this.loop = loop; this.context.redraw(); })),
      el("dl", { class: "figures" },
        figure("On disk", count(kept.length), `of ${plural(rows.length, "generation")} made`),
        figure("Size", bytes(kept.reduce((sum, s) => sum + s.size, 0)), "of those on disk"),
        figure("Newest", since(rows[0]?.at), rows[0] && moment(rows[0].at)),
        figure("Pause of training", duration(median(rows.map((s) => s.stall_s))), "median, for each snapshot")),
      this.#detail(),
      panel("Generations", "newest first", island(this.list)),
    ];
  }

  #detail() {
    const s = this.snapshots.find((one) => one.id === this.chosen);
    if (!s) return null;
    const facts = [["Position", `after ${plural(s.position, "iteration")}${s.batch ? ` and ${plural(s.batch, "batch", "batches")}` : ""}`], ["Size", bytes(s.size)], ["Pause", duration(s.stall_s)], ["Saved", moment(s.at)], ["Final", s.final ? "yes" : "no"]];
    return el("section", { class: "panel detail" },
      el("header", { class: "panel-head" }, el("h2", null, el("bdi", null, visible(s.loop)), `, generation ${count(s.generation)}`),
        el("div", { class: "aside" }, stateBadge(s), el("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => { this.chosen = null; this.context.redraw(); } }, "×"))),
      el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", null, el("dt", null, name), el("dd", null, value)))),
      el("p", { class: "mono wrap" }, el("span", { class: "dim" }, "SHA-256 "), s.sha256 || "not computed yet"));
  }
}

function stateBadge(s) {
  const [kind, word] = STATES[s.state] ?? ["new", visible(s.state)];
  return el("span", { class: `badge is-${kind}` }, icon(kind), s.final && s.state === "kept" ? "final" : word);
}

function median(values) {
  const sorted = values.filter((value) => value !== null && value !== undefined).sort((a, b) => a - b);
  return sorted.length ? sorted[sorted.length >> 1] : null;
}

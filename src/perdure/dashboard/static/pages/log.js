// The end of what the terminal showed, over all attempts.

import { get, of } from "../core/api.js";
import { el } from "../core/dom.js";
import { plural, visible } from "../core/format.js";
import { chooser, empty, panel } from "../parts/pieces.js";

export class LogPage {
  constructor(context) {
    Object.assign(this, { context, lines: null, wanted: 200 });
  }

  async load() {
    const answer = await get(of(this.context.id, "log"), { lines: this.wanted });
    this.lines = Array.isArray(answer.lines) ? answer.lines : String(answer.text ?? answer.log ?? "").split("\n");
  }

  view() {
    if (!this.lines?.some((line) => line.trim())) return empty("The log is empty.");
    const sizes = [200, 1000, 5000].map((n) => ({ value: n, label: n.toLocaleString("en") }));
    return panel("Log", ["last ", chooser("Lines", sizes, this.wanted, (n) => { this.wanted = n; this.context.refresh(); }), ` lines, ${plural(this.lines.length, "line")} shown`],
      el("pre", { class: "log", tabindex: 0, "aria-label": "Log" }, this.lines.map(visible).join("\n")));
  }
}

// A line chart over the positions of a loop, with each interruption marked. Drag zooms; a double click shows all.

import { el } from "../core/dom.js";
import { number, plural, words } from "../core/format.js";

const DASHES = [[], [6, 4], [2, 3], [10, 3, 2, 3]];
const HEIGHT = 210;
const PREFIXES = new Map([["val", 1], ["test", 2], ["train", 3]]);
const LARGEST = 1e300; // beyond it a range has no length that can be computed

/** Which of the four styles a line has: what was validated looks the same on all charts. */
const styleOf = (name) => PREFIXES.get(name.split("_")[0]) ?? 0;

/** What can be drawn: null is a gap, undefined (nothing was logged there) is not. */
const drawn = (value) => (value === null ? undefined : typeof value === "number" && Math.abs(value) < LARGEST ? value : null);

export class Chart {
  /** title: names the quantity; sync: charts of one name share the cursor. */
  constructor({ title, sync }) {
    Object.assign(this, { title, sync, plot: null, shape: "", data: null });
    this.host = el("div", { class: "chart-host", role: "img" });
    this.legend = el("div", { class: "chart-legend" });
    this.element = el("figure", { class: "chart" },
      el("figcaption", null, el("strong", null, words(title)), this.legend), this.host);
    new ResizeObserver(() => this.#resize()).observe(this.host);
    document.addEventListener("themechange", () => { this.shape = ""; if (this.data) this.#draw(); });
  }

  /** x: positions counted from 1; lines: {name: values}, where null is nothing and a text no finite number; marks: [{x, at, outcome}]; provisionalFrom: an x, or null. */
  update({ x, lines, marks, provisionalFrom }) {
    this.data = [x, ...Object.values(lines).map((values) => values.map(drawn))];
    this.names = Object.keys(lines);
    Object.assign(this, { lines, marks, provisionalFrom });
    const last = this.names.map((name) => `${words(name)} ${number(lines[name].findLast((value) => value !== null))}`);
    this.host.setAttribute("aria-label", `${words(this.title)} over ${plural(x.length, "point")}, ${plural(marks.length, "interruption")} marked; last: ${last.join(", ")}`);
    this.#draw();
  }

  #draw() {
    if (!this.host.clientWidth) return;
    if (this.shape !== this.names.join("\n")) {
      this.shape = this.names.join("\n");
      this.plot?.destroy();
      this.plot = new uPlot(this.#options(), this.data, this.host);
    } else {
      this.plot.setData(this.data, this.#whole());
    }
    this.#read(null);
  }

  #whole() {
    return !this.zoomed;
  }

  #resize() {
    const width = this.host.clientWidth;
    if (!width || !this.data) return;
    if (!this.plot) this.#draw();
    else if (this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
  }

  #options() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--dim"), font: "11px system-ui, sans-serif", ticks: { show: false },
      grid: { stroke: colour("--line"), width: 1 },
    };
    return {
      width: this.host.clientWidth, height: HEIGHT, padding: [14, Math.max(12, 4 * this.data[0].at(-1).toLocaleString("en").length), 0, this.data.slice(1).some((line) => line.some((value) => value ?? false)) ? 0 : 8], // room for half of the outer labels
      cursor: { sync: { key: this.sync }, drag: { x: true, y: false }, points: { size: 6 }, y: false },
      legend: { show: false },
      scales: { x: { time: false, range: (_, low, high) => (low === high ? [low - 1, high + 1] : [low, high]) } },
      axes: [
        { ...axis, size: 24, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000], values: (_, ticks) => ticks.map((t) => t.toLocaleString("en")) },
        { ...axis, size: 58, values: (_, ticks, __, ___, step) => ticks.map((t) => short(t, step)) },
      ],
      series: [{}, ...this.names.map((name) => ({
        label: name, stroke: colour(`--series-${styleOf(name) + 1}`), width: 1.6, dash: DASHES[styleOf(name)], spanGaps: false,
        points: { show: this.data[0].length < 25, size: 5 },
      }))],
      hooks: {
        drawClear: [(plot) => this.#provisional(plot, colour("--hover"))],
        draw: [(plot) => this.#marks(plot, colour("--interrupted"))],
        setCursor: [(plot) => this.#read(plot.cursor.idx)],
        setScale: [(plot, name) => { if (name === "x") this.zoomed = this.data[0].length > 1 && (plot.scales.x.min > this.data[0][0] || plot.scales.x.max < this.data[0].at(-1)); }],
      },
    };
  }

  #provisional(plot, colour) {
    if (this.provisionalFrom === null || this.provisionalFrom === undefined) return;
    const { left, top, width, height } = plot.bbox;
    const x = Math.max(left, plot.valToPos(this.provisionalFrom - 0.5, "x", true));
    if (x >= left + width) return;
    plot.ctx.fillStyle = colour;
    plot.ctx.fillRect(x, top, left + width - x, height);
  }

  #marks(plot, colour) {
    const { left, top, width, height } = plot.bbox, pen = plot.ctx, unit = devicePixelRatio || 1;
    pen.save();
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = unit;
    for (const mark of this.marks) {
      const x = Math.round(plot.valToPos(mark.x, "x", true)) + 0.5; // the middle of a pixel: a sharp line
      if (x < left || x > left + width) continue;
      pen.setLineDash([4 * unit, 3 * unit]);
      pen.beginPath();
      pen.moveTo(x, top);
      pen.lineTo(x, top + height);
      pen.stroke();
      pen.beginPath();
      pen.moveTo(x - 5 * unit, top - 9 * unit);
      pen.lineTo(x + 5 * unit, top - 9 * unit);
      pen.lineTo(x, top - unit);
      pen.fill();
    }
    pen.restore();
  }

  /** The values under the cursor, or the last ones. */
  #read(index) {
    const at = (name) => index ?? this.lines[name].findLastIndex((value) => value !== null);
    const rows = this.names.map((name) => el("span", { class: `legend-item series-${styleOf(name) + 1}` }, el("i"), `${words(name)} `, el("b", null, number(this.lines[name][at(name)]))));
    const place = index === null || index === undefined ? "" : ` at ${number(this.data[0][at])}`;
    this.legend.replaceChildren(...rows, el("span", { class: "dim" }, place));
  }
}

/** A tick with as many digits as tell it from the next. */
function short(value, step) {
  if (value === 0) return "0";
  if (step >= 1) return Math.abs(value) >= 1e6 ? value.toExponential(1) : value.toLocaleString("en");
  const digits = Math.min(9, Math.ceil(-Math.log10(step) - 1e-9) + (String(step).includes("25") ? 1 : 0));
  return digits > 6 ? value.toExponential(1) : value.toFixed(digits);
}

// Thousands of units on one canvas. Each state has a mark of its own besides its colour.

import { el } from "../core/dom.js";
import { duration, visible } from "../core/format.js";
import { kindOf } from "../core/state.js";

export class Mosaic {
  constructor({ choose }) {
    Object.assign(this, { choose, units: [], waiting: 0, at: 0, chosen: null });
    this.canvas = el("canvas", {
      tabindex: 0, role: "img", onclick: (event) => this.#pick(this.#under(event)), onpointermove: (event) => this.#point(this.#under(event)),
      onpointerleave: () => this.#point(-1), onkeydown: (event) => this.#key(event),
    });
    this.told = el("p", { class: "mosaic-told", "aria-live": "polite" });
    this.element = el("div", { class: "mosaic" }, el("div", { class: "mosaic-scroll" }, this.canvas), this.told);
    new ResizeObserver(() => this.#draw()).observe(this.element);
    document.addEventListener("themechange", () => this.#draw());
  }

  /** waiting: how many more there are that nothing is known of yet. */
  update(units, chosen, waiting) {
    Object.assign(this, { units, chosen, waiting });
    this.canvas.setAttribute("aria-label", `${units.length} units; use the arrow keys to read them one by one`);
    this.#draw();
  }

  #draw() {
    const width = this.element.clientWidth;
    if (!width || !this.units.length) return;
    this.cell = this.units.length + this.waiting > 2500 ? (width < 500 ? 8 : 10) : 14;
    this.columns = Math.max(1, Math.floor(width / this.cell));
    const all = this.units.length + this.waiting;
    const height = Math.ceil(all / this.columns) * this.cell;
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = width * ratio;
    this.canvas.height = height * ratio;
    this.canvas.style.height = `${height}px`;
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const style = getComputedStyle(document.documentElement);
    const colours = Object.fromEntries(["completed", "failed", "running", "stopped", "new"].map((kind) => [kind, style.getPropertyValue(`--${kind}`).trim()]));
    const page = style.getPropertyValue("--panel").trim();
    this.units.forEach((unit, n) => this.#cell(pen, n, kindOf(unit.state), colours, page));
    for (let n = this.units.length; n < all; n += 1) this.#cell(pen, n, "new", colours, page);
    this.#ring(pen, this.units.findIndex((unit) => unit.key === this.chosen), style.getPropertyValue("--ink").trim());
  }

  #cell(pen, n, kind, colours, page) {
    const side = this.cell - 2, x = (n % this.columns) * this.cell, y = Math.floor(n / this.columns) * this.cell;
    pen.fillStyle = pen.strokeStyle = colours[kind] ?? colours.new;
    pen.lineWidth = 1;
    if (kind === "new") return pen.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    pen.globalAlpha = kind === "completed" ? 0.6 : 1; // failures are what eyes should find
    pen.fillRect(x, y, side, side);
    pen.globalAlpha = 1;
    pen.strokeStyle = pen.fillStyle = page;
    pen.lineWidth = 1.4;
    pen.beginPath();
    if (kind === "failed") { pen.moveTo(x + 2, y + 2); pen.lineTo(x + side - 2, y + side - 2); pen.moveTo(x + side - 2, y + 2); pen.lineTo(x + 2, y + side - 2); }
    if (kind === "running") pen.rect(x + side / 2 - 1, y + side / 2 - 1, 2, 2);
    pen.stroke();
  }

  #ring(pen, n, colour) {
    if (n < 0) return;
    pen.strokeStyle = colour;
    pen.lineWidth = 2;
    pen.strokeRect((n % this.columns) * this.cell, Math.floor(n / this.columns) * this.cell, this.cell - 2, this.cell - 2);
  }

  #under(event) {
    const box = this.canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left) / this.cell);
    const n = Math.floor((event.clientY - box.top) / this.cell) * this.columns + column;
    return column < this.columns && n < this.units.length ? n : -1;
  }

  #point(n) {
    const unit = this.units[n];
    const text = unit ? `${visible(unit.key)} · ${unit.state}${unit.seconds ? ` · ${duration(unit.seconds)}` : ""}` : "";
    if (this.told.textContent !== text) this.told.textContent = text;
  }

  #pick(n) {
    if (n < 0) return;
    this.at = n;
    this.choose(this.units[n].key);
    this.#point(n);
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.#pick(Math.min(this.units.length - 1, Math.max(0, this.at + step)));
  }
}

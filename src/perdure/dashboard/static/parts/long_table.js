// A table of any length: only the rows in sight exist. Arrow keys move, Enter opens.

import { el, show } from "../core/dom.js";

const ROW = 34; // pixels; style.css has the same
const BEYOND = 8; // rows made above and below what is in sight

export class LongTable {
  /** columns: [{title, width (a grid track), cell(row), number?, narrow? (the track on a phone, or false
   * for none), optional? (left out where this is true of no row)}]; open(row): one was chosen. */
  constructor({ label, columns, open, height = 420 }) {
    Object.assign(this, { columns, open, height, rows: [], chosen: -1, filled: new Set() });
    this.space = el("div", { class: "long-space" });
    this.body = el("div", { class: "long-body", tabindex: 0, role: "grid", "aria-label": label, onkeydown: (event) => this.#key(event) }, this.space);
    this.body.addEventListener("scroll", () => { this.frame ??= requestAnimationFrame(() => { this.frame = null; this.#draw(); }); }, { passive: true });
    this.head = el("div", { class: "long-head long-row", "aria-hidden": "true" },
      columns.map((c) => el("span", { class: c.number && "number" }, c.title)));
    this.element = el("div", { class: "long" }, this.head, this.body);
    this.narrow = matchMedia("(max-width: 700px)");
    this.narrow.addEventListener("change", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(this.body);
  }

  update(rows) {
    const was = this.rows[this.chosen];
    this.rows = rows;
    this.filled = new Set(this.columns.filter((c) => c.optional && rows.some(c.optional)));
    this.chosen = was === undefined ? -1 : rows.findIndex((row) => row.id === was.id);
    this.#draw();
  }

  #draw() {
    const columns = this.columns.filter((c) => !(this.narrow.matches && c.narrow === false) && (!c.optional || this.filled.has(c)));
    const tracks = columns.map((c) => (this.narrow.matches && c.narrow) || c.width).join(" ");
    [...this.head.children].forEach((cell, n) => { cell.hidden = !columns.includes(this.columns[n]); });
    this.head.style.gridTemplateColumns = tracks;
    this.space.style.height = `${this.rows.length * ROW}px`;
    this.body.style.height = `${Math.min(this.height, Math.max(1, this.rows.length) * ROW)}px`;
    this.body.setAttribute("aria-rowcount", this.rows.length);
    const first = Math.max(0, Math.floor(this.body.scrollTop / ROW) - BEYOND);
    const last = Math.min(this.rows.length, Math.ceil((this.body.scrollTop + Math.min(this.height, this.body.clientHeight || this.height)) / ROW) + BEYOND);
    const made = [];
    for (let n = first; n < last; n += 1) made.push(this.#row(n, columns, tracks));
    show(this.space, made);
    if (this.chosen >= 0) this.body.setAttribute("aria-activedescendant", this.#id(this.chosen));
    else this.body.removeAttribute("aria-activedescendant");
  }

  #row(n, columns, tracks) {
    const row = this.rows[n];
    return el("div", {
      key: n, id: this.#id(n), role: "row", "aria-rowindex": n + 1, "aria-selected": String(n === this.chosen),
      class: "long-row", style: { top: `${n * ROW}px`, "grid-template-columns": tracks },
      onclick: () => this.#choose(n),
    }, columns.map((c) => el("span", { role: "gridcell", class: [c.number && "number", c.class].filter(Boolean).join(" ") || null }, c.cell(row))));
  }

  #id(n) {
    this.name ??= `t${Math.random().toString(36).slice(2)}`;
    return `${this.name}-${n}`;
  }

  #choose(n) {
    this.chosen = n;
    this.#draw();
    this.open?.(this.rows[n]);
  }

  #key(event) {
    const page = Math.max(1, Math.floor(this.body.clientHeight / ROW) - 1);
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined || !this.rows.length) return;
    event.preventDefault();
    const n = Math.min(this.rows.length - 1, Math.max(0, this.chosen + step));
    if (n * ROW < this.body.scrollTop) this.body.scrollTop = n * ROW;
    if ((n + 1) * ROW > this.body.scrollTop + this.body.clientHeight) this.body.scrollTop = (n + 1) * ROW - this.body.clientHeight;
    this.#choose(n);
  }
}

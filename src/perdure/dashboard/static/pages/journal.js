// What happened, newest first; filtered by kind of event and by text on the server.

import { get, of } from "../core/api.js";
import { el, island } from "../core/dom.js";
import { duration, moment, number, plural, visible, words } from "../core/format.js";
import { LongTable } from "../parts/long_table.js";
import { empty, panel, search, select, settled } from "../parts/pieces.js";

const PAGE = 200;

export class JournalPage {
  constructor(context) {
    Object.assign(this, { context, events: [], names: [], event: "", text: "", chosen: null, older: true, loaded: false });
    this.list = new LongTable({ label: "Journal", height: 560, open: (row) => { this.chosen = row.seq; context.redraw(); }, columns: [
      { title: "Number", width: "68px", number: true, narrow: false, cell: (e) => el("span", { class: "dim" }, e.seq) },
      { title: "When", width: "150px", narrow: "66px", cell: (e) => moment(e.at) },
      { title: "Attempt", width: "68px", number: true, narrow: false, cell: (e) => e.attempt },
      { title: "What", width: "minmax(120px, 1fr)", cell: (e) => sentence(e) },
    ] });
    this.type = settled((text) => { this.text = text; this.#again(); });
  }

  async load() {
    const { event, text } = this;
    const answer = await get(of(this.context.id, "journal"), { limit: PAGE, event, text });
    if (event !== this.event || text !== this.text) return;
    const newest = answer.events.at(-1)?.seq ?? Infinity; // pages that were loaded before stay below the fresh one
    const kept = this.loaded ? this.events.filter((one) => one.seq < newest) : [];
    if (!this.loaded) this.older = answer.events.length === PAGE;
    Object.assign(this, { events: [...answer.events, ...kept], names: answer.names, loaded: true });
  }

  async #more() {
    const { events } = await get(of(this.context.id, "journal"), { limit: PAGE, event: this.event, text: this.text, before: this.events.at(-1).seq });
    this.events.push(...events);
    this.older = events.length === PAGE;
    this.context.redraw();
  }

  #again() {
    Object.assign(this, { loaded: false, events: [] });
    this.context.refresh();
  }

  view() {
    this.list.update(this.events.map((event) => ({ ...event, id: event.seq })));
    const chosen = this.events.find((event) => event.seq === this.chosen);
    return [
      el("div", { class: "page-head" },
        select("Event", [{ value: "", label: "All events" }, ...this.names.map((name) => ({ value: name, label: visible(name) }))], this.event, (name) => { this.event = name; this.#again(); }),
        search("Find in the journal", this.text, this.type)),
      chosen && el("section", { class: "panel detail" },
        el("header", { class: "panel-head" }, el("h2", null, visible(chosen.event)), el("div", { class: "aside" }, moment(chosen.at),
          el("button", { type: "button", class: "icon-button", "aria-label": "Close", onclick: () => { this.chosen = null; this.context.redraw(); } }, "×"))),
        chosen.subject && el("p", null, el("bdi", null, visible(chosen.subject))),
        whole(chosen.detail)),
      this.events.length
        ? panel("Journal", `${plural(this.events.length, "event")}, newest first`, island(this.list), this.older && el("p", { class: "more" }, el("button", { type: "button", class: "button", onclick: () => this.#more() }, "Load older events")))
        : empty(this.event || this.text ? "No event fits this filter." : "No events yet."),
    ];
  }
}

/** All of an event; a traceback in lines of its own. */
function whole(detail) {
  const { traceback, ...rest } = detail ?? {};
  return [rest, traceback].filter(Boolean).map((part) => el("pre", { class: "wrap" }, visible(typeof part === "string" ? part : JSON.stringify(part, null, 1))));
}

/** An event in some words. */
export function sentence(event) {
  const detail = event.detail && typeof event.detail === "object" ? event.detail : {};
  if (event.event === "attempt begun" && detail.killed) return el("span", null, el("strong", null, "attempt begun"), ` after attempt ${number(detail.killed)} was killed`);
  const key = detail.key ? ` ${visible(detail.key)}` : "";
  const rest = Object.entries(detail).filter(([name, value]) => !["key", "traceback"].includes(name) && value !== null && typeof value !== "object")
    .map(([name, value]) => (name === "seconds" ? duration(value) : `${words(name)} ${number(value)}`));
  return el("bdi", null, el("strong", null, visible(event.event)), event.subject && ` ${visible(event.subject)}`, key, rest.length ? el("span", { class: "dim" }, ` · ${rest.join(", ")}`) : null);
}

// Where a run stands: figures, phases, what it cost, what happened last.

import { get, of } from "../core/api.js";
import { since } from "../core/clock.js";
import { el } from "../core/dom.js";
import { bytes, count, duration, moment, percent, plural, progress, visible } from "../core/format.js";
import { linkTo } from "../core/place.js";
import { icon, kindOf, phaseState, stateOf } from "../core/state.js";
import { bar, empty, figure, panel } from "../parts/pieces.js";
import { sentence } from "./journal.js";

const EVENTS = 8;

export class OverviewPage {
  constructor(context) {
    Object.assign(this, { context, events: [] });
  }

  async load() {
    this.events = (await get(of(this.context.id, "journal"), { limit: EVENTS })).events;
  }

  view(overview) {
    if (overview.state === "new" && !overview.phases.length) return empty("Nothing was recorded yet.", "What this run does appears here as soon as it begins.");
    return [
      notice(overview),
      figures(overview),
      panel("Phases", null, this.#track(overview)),
      el("div", { class: "columns" }, this.#events(), el("div", { class: "stack" }, space(overview), tables(overview))),
    ];
  }

  #track(overview) {
    const tops = overview.phases.filter((phase) => !phase.name.includes("/"));
    return el("ol", { class: "track" }, tops.map((phase, n) => {
      const inner = overview.phases.filter((one) => one.name.startsWith(`${phase.name}/`));
      const state = phaseState(phase, overview);
      return el("li", { key: phase.name, class: `is-${kindOf(state)}`, "aria-current": phase.state === "running" ? "step" : null },
        el("a", { href: linkTo(this.context.id, phase.kind === "range" ? "training" : "units", phase.name) },
          el("span", { class: "track-head" }, icon(state), el("span", { class: "dim" }, n + 1), el("bdi", { class: "track-name", title: visible(phase.name) }, visible(phase.name))),
          bar(reached(phase), phase.failed, phase.total, state),
          el("span", { class: "track-counts" }, counts(phase)),
          el("span", { class: "track-note dim" }, note(phase, inner))));
    }));
  }

  #events() {
    const { id } = this.context;
    return panel("Latest events", el("a", { href: linkTo(id, "journal") }, "Journal"),
      this.events.length ? el("ul", { class: "events" }, this.events.map((event) => el("li", { key: event.seq },
        el("time", { class: "dim", datetime: new Date(event.at * 1000).toISOString() }, moment(event.at)), el("span", null, sentence(event))))) : empty("No events yet."));
  }
}

function notice(overview) {
  const state = stateOf(overview);
  const last = overview.attempt_log.at(-1);
  if (state === "interrupted") {
    return el("p", { class: "notice is-interrupted", key: "notice" }, icon("interrupted"), el("span", null, "The process died without a word (killed, crashed or power cut) ", since(last?.ended_at ?? overview.last_saved_at),
      ". All that was saved is safe: the same command goes on from there", last?.lost_s ? ` and does ${duration(last.lost_s)} of work again.` : "."));
  }
  if (state === "failed") return el("p", { class: "notice is-failed", key: "notice" }, icon("failed"), el("span", null, `It ended with an error (exit code ${last?.exit_code ?? "unknown"}). `, el("a", { href: linkTo(overview.id, "log") }, "The log"), " or the terminal that it ran in tells why; what was saved is safe."));
  if (state === "stopped") return el("p", { class: "notice is-stopped", key: "notice" }, icon("stopped"), el("span", null, "Stopped and saved. The same command goes on from there."));
  return null;
}

function figures(overview) {
  const over = overview.budget !== null && overview.overhead !== null && overview.overhead > overview.budget;
  const share = overview.budget && overview.overhead !== null ? Math.min(1, overview.overhead / overview.budget) : 0;
  return el("dl", { class: "figures" },
    figure("Progress", progress(overview.progress), currently(overview)),
    timeLeft(overview),
    figure("Last save", since(overview.last_saved_at), overview.last_saved_at ? `at ${moment(overview.last_saved_at)}` : null),
    figure("Saving costs", percent(overview.overhead, 2), [overview.budget === null ? "no budget" : `of ${percent(overview.budget)} allowed`,
      overview.budget !== null && el("span", { class: `meter ${over ? "over" : ""}`, "aria-hidden": "true" }, el("i", { style: { width: `${100 * share}%` } }))]),
    figure("Attempts", count(overview.attempts), overview.attempts > 1 || ["failed", "stopped"].includes(overview.state) ? `${duration(overview.lost_s)} of work lost, ${duration(overview.away_s)} away` : "never interrupted"),
    figure("Saved by resuming", duration(overview.saved_s), overview.saved_s ? "of work not done again" : "nothing to save yet"),
    overview.failed > 0 && figure("Failed units", el("span", { class: "bad" }, count(overview.failed)), el("a", { href: linkTo(overview.id, "units") }, "Show them")),
    overview.models > 0 && figure("Models trained", count(overview.models), "loops at their end"));
}

/** Of the whole run; or of its present phase, where later ones have not shown how long they take. */
function timeLeft(overview) {
  if (overview.state !== "running") return figure("Time left", "–");
  if (overview.eta_s) return figure("Time left", duration(overview.eta_s), `until about ${moment(Date.now() / 1000 + overview.eta_s)}`);
  const now = overview.phases.find((phase) => phase.state === "running" && !phase.name.includes("/") && phase.eta_s);
  return now ? figure("Time left", duration(now.eta_s), ["for ", el("bdi", null, visible(now.name)), "; what follows is not known yet"]) : figure("Time left", "–", "no rate known yet");
}

function currently(overview) {
  const now = overview.phases.findLast((phase) => !phase.name.includes("/") && ["running", "stopped", "failed"].includes(phase.state));
  return now && overview.state !== "completed" ? el("bdi", null, `in ${visible(now.name)}`) : null;
}

/** What a phase is through with, saved or not. */
const reached = (phase) => Math.max(phase.done, phase.reached);

function counts(phase) {
  if (phase.kind === "step") return { completed: "done", running: "running", failed: "failed" }[phase.state] ?? "not done";
  const done = reached(phase);
  if (phase.total === null) return done ? `${count(done)} done` : "not started";
  const left = Math.max(0, phase.total - done - phase.failed);
  return [`${count(done)} of ${count(phase.total)}`, phase.failed > 0 && el("span", { class: "bad" }, `, ${count(phase.failed)} failed`), left > 0 && phase.state !== "completed" && `, ${count(left)} left`];
}

function note(phase, inner) {
  const now = inner.find((one) => one.state === "running");
  if (now) return el("bdi", null, `${visible(now.name.slice(phase.name.length + 1))}: ${count(now.reached)}${now.total ? ` of ${count(now.total)}` : ""}`);
  const unsaved = phase.kind === "range" && phase.reached > phase.done ? `${count(phase.reached - phase.done)} not saved yet` : null;
  const left = phase.state === "running" && phase.eta_s ? `${duration(phase.eta_s)} left` : null;
  if (left || unsaved) return [left, unsaved].filter(Boolean).join(", ");
  return phase.kind ? { range: "loop", map: "parallel units", each: "units in turn", step: "step" }[phase.kind] ?? "" : "";
}

function space(overview) {
  const parts = Object.entries(overview.bytes).filter(([, size]) => size > 0).sort((a, b) => b[1] - a[1]);
  const total = parts.reduce((sum, [, size]) => sum + size, 0);
  return panel("Space", bytes(total),
    el("div", { class: "shares", "aria-hidden": "true" }, parts.map(([name, size], n) => el("i", { class: `share-${n}`, style: { "flex-grow": size } }))),
    el("ul", { class: "legend" }, parts.map(([name, size], n) => el("li", null, el("i", { class: `share-${n}` }), el("span", null, name), el("b", null, bytes(size))))));
}

function tables(overview) {
  const rows = Object.entries(overview.tables);
  if (!rows.length) return null;
  return panel("Tables", null, el("ul", { class: "legend" }, rows.map(([name, size]) => el("li", null, el("bdi", null, visible(name)), el("b", null, plural(size, "row"))))));
}

// States: a word, a colour and a shape each, so that none is told by colour alone.

import { el, svg } from "./dom.js";
import { plural, visible } from "./format.js";

const SHAPES = {
  completed: "M2.5 6.4 5 8.9 9.7 3.4",
  failed: "M3.2 3.2 8.8 8.8 M8.8 3.2 3.2 8.8",
  running: "M4 2.6 9.4 6 4 9.4Z",
  stopped: "M4 3v6 M8 3v6",
  interrupted: "M6.8 1.6 3.4 6.7H6L5.2 10.4 8.6 5.3H6Z",
  new: "M6 3.1a2.9 2.9 0 1 0 .01 0Z",
  warned: "M6 2.6v4.2 M6 9.1v.3",
  proof: "M6 1.4 10 3v3c0 2.4-1.6 3.9-4 4.7C3.6 9.9 2 8.4 2 6V3Z M4.2 5.9 5.6 7.3 8 4.6",
};
const FILLED = new Set(["running", "interrupted"]);
const ALIKE = {
  done: "completed", passed: "completed", killed: "interrupted", left: "new",
  damaged: "failed", unreadable: "warned", newer: "warned",
};
const WORDS = { new: "not started", newer: "made by a newer perdure" };

/** The one of six kinds that a state is drawn as. */
export function kindOf(state) {
  const kind = ALIKE[state] ?? state;
  return kind in SHAPES ? kind : "new";
}

export function icon(state) {
  const kind = kindOf(state);
  return svg("svg", { viewBox: "0 0 12 12", class: `icon ${FILLED.has(kind) ? "filled" : ""}`, "aria-hidden": "true" },
    svg("path", { d: SHAPES[kind] }));
}

/** What a state is called. */
export const wordOf = (state) => WORDS[state] ?? state;

/** A pill with shape and word. */
export function badge(state, word = wordOf(state)) {
  return el("span", { class: `badge is-${kindOf(state)}` }, icon(state), word);
}

/** A run that says it runs, or only stopped because its process died without a word. */
export function stateOf(overview) {
  const outcome = overview.outcome ?? overview.attempt_log?.at(-1)?.outcome;
  const died = outcome === "killed" || (outcome === "running" && !overview.alive);
  return overview.state === "stopped" && died ? "interrupted" : overview.state;
}

/** The same of one phase, which stands as its run does. */
export function phaseState(phase, overview) {
  return phase.state === "stopped" ? stateOf(overview) : phase.state;
}

/** What `perdure prove` found, if it was asked. */
export function proofBadge(proof) {
  if (!proof) return null;
  const good = proof.verdict === "exact";
  return el("span", { class: `badge proof ${good ? "is-completed" : "is-failed"}`, title: `perdure prove: ${visible(proof.verdict)}, ${plural(proof.kills, "kill")}` },
    icon(good ? "proof" : "failed"), good ? `proven exact, ${plural(proof.kills, "kill")}` : `proof: ${visible(proof.verdict)}`);
}

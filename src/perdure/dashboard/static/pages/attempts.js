// Each process that worked on the run: how it ended, what that cost, what resuming saved.

import { since } from "../core/clock.js";
import { el } from "../core/dom.js";
import { count, duration, moment, plural, visible } from "../core/format.js";
import { badge, kindOf } from "../core/state.js";
import { empty, figure, panel, table } from "../parts/pieces.js";

const CAUSES = { 73: "refused: code, config or data changed", 74: "disk full or failing", 75: "another process held the run", 129: "hang-up (SIGHUP), saved", 130: "Ctrl+C, saved", 143: "asked to stop (SIGTERM), saved" };

export class AttemptsPage {
  async load() {}

  view(overview) {
    const attempts = withSavings(overview);
    if (!attempts.length) return empty("No attempts yet", "Each start of the command is one attempt.");
    return [
      el("dl", { class: "figures" },
        figure("Attempts", count(attempts.length), `${plural(attempts.filter((a) => a.ended === "killed").length, "death")} without warning`),
        figure("Worked", duration(attempts.reduce((sum, a) => sum + a.seconds, 0)), "over all attempts"),
        figure("Lost", duration(overview.lost_s), "work after a last save, done again"),
        figure("Away", duration(overview.away_s), "between attempts"),
        figure("Saved by resuming", duration(overview.saved_s), "work that was not done again")),
      panel("In order", "width: time worked", timeline(attempts)),
      panel("Attempts", null, table("Attempts", COLUMNS, [...attempts].reverse())),
    ];
  }
}

const COLUMNS = [
  { title: "#", number: true, cell: (a) => count(a.id) },
  { title: "Ended", cell: (a) => badge(a.ended) },
  { title: "Cause", class: "line", cell: (a) => cause(a) },
  { title: "Began", class: "line", cell: (a) => moment(a.started_at) },
  { title: "Worked", number: true, cell: (a) => duration(a.seconds) },
  { title: "Lost", number: true, cell: (a) => duration(a.lost_s) },
  { title: "Did not do again", number: true, cell: (a) => duration(a.saved_s) },
  { title: "Process", class: "line", cell: (a) => el("bdi", null, `${a.pid} on ${visible(a.host)}`) },
  { title: "When", class: "line", cell: (a) => (a.ended === "running" ? "still running" : since(Math.max(a.ended_at ?? 0, a.started_at + a.seconds))) },
];

function cause(a) {
  if (a.ended === "running") return "–";
  if (a.ended === "killed") return "killed, crashed or power cut";
  if (a.outcome === "completed") return a.exit_code === 3 ? "complete, with failed units" : "complete";
  return CAUSES[a.exit_code] ?? (a.exit_code === null ? "unknown" : `error, exit code ${a.exit_code}`);
}

/** With `ended` (a dead process that says "running" was killed) and what each resume did not have to do again. */
function withSavings(overview) {
  let kept = 0, before = null;
  return overview.attempt_log.map((attempt, n, all) => {
    if (before) kept += Math.max(0, before.seconds - before.lost_s);
    const saved = before && before.outcome !== "completed" ? kept : 0;
    before = attempt;
    const dead = attempt.outcome === "running" && !(n === all.length - 1 && overview.alive);
    return { ...attempt, ended: dead ? "killed" : attempt.outcome, saved_s: saved };
  });
}

function timeline(attempts) {
  const total = attempts.reduce((sum, a) => sum + a.seconds, 0) || 1;
  const gaps = attempts.map((a, n) => (n ? a.started_at - (attempts[n - 1].ended_at ?? a.started_at) : 0));
  return el("div", { class: "timeline", role: "img", "aria-label": plural(attempts.length, "attempt") }, attempts.map((a, n) => [
    n > 0 && el("span", { class: "gap", title: `away ${duration(gaps[n])}` }),
    el("span", { class: `span is-${kindOf(a.ended)}`, style: { "flex-grow": Math.max(a.seconds, total / 60) }, title: `attempt ${a.id}: ${duration(a.seconds)}, ${a.ended}` },
      el("i", { style: { width: `${100 * (1 - Math.min(1, a.seconds ? a.lost_s / a.seconds : 0))}%` } }), el("small", null, a.id)),
  ]));
}

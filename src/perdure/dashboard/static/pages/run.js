// What stands above every page of a run: its name, its state, what can be done, and the tabs.

import { el } from "../core/dom.js";
import { visible } from "../core/format.js";
import { linkTo } from "../core/place.js";
import { badge, icon, proofBadge, stateOf } from "../core/state.js";
import { AttemptsPage } from "./attempts.js";
import { actions } from "./actions.js";
import { JournalPage } from "./journal.js";
import { LogPage } from "./log.js";
import { OverviewPage } from "./overview.js";
import { ResultsPage } from "./results.js";
import { SnapshotsPage } from "./snapshots.js";
import { TrainingPage } from "./training.js";
import { UnitsPage } from "./units.js";

export const TABS = [
  { name: "overview", title: "Overview", Page: OverviewPage },
  { name: "units", title: "Units", Page: UnitsPage },
  { name: "training", title: "Training", Page: TrainingPage },
  { name: "results", title: "Results", Page: ResultsPage },
  { name: "snapshots", title: "Snapshots", Page: SnapshotsPage },
  { name: "attempts", title: "Attempts", Page: AttemptsPage },
  { name: "journal", title: "Journal", Page: JournalPage },
  { name: "log", title: "Log", Page: LogPage },
];

export function runHeader(id, overview, tab, context) {
  return el("div", { class: "run-head", key: "head" },
    el("div", { class: "run-title" },
      el("h1", null, el("bdi", null, visible(overview.name ?? id))),
      badge(stateOf(overview)),
      proofBadge(overview.proof),
      el("p", { class: "dim run-what" }, el("bdi", null, visible(overview.target) || "no command recorded"), overview.alive && overview.pid ? ` · process ${overview.pid} on ${visible(overview.host)}` : ""),
      actions(id, overview, context)),
    el("nav", { class: "tabs", "aria-label": "Pages of this run" },
      TABS.map((one) => el("a", { href: linkTo(id, one.name), "aria-current": one === tab ? "page" : null }, one.title, mark(one.name, overview)))));
}

/** A count beside a tab, where it says something. */
function mark(name, overview) {
  if (name === "units" && overview.failed) return el("span", { class: "count is-failed" }, icon("failed"), overview.failed);
  if (name === "attempts" && overview.attempts > 1) return el("span", { class: "count" }, overview.attempts);
  return null;
}

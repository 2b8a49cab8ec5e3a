// What can be done to a run. Each asks first and says what will happen.

import { Refused, of, post } from "../core/api.js";
import { el } from "../core/dom.js";
import { plural, visible } from "../core/format.js";
import { ask, toast } from "../parts/dialog.js";

const ACTIONS = {
  stop: {
    label: "Stop",
    title: (name) => `Stop ${name}?`,
    text: () => ["It finishes the batch or iteration at hand, saves, and ends. Nothing is lost.", "The command that started it goes on from there."],
    confirm: "Stop and save",
  },
  retry: {
    label: "Retry failed",
    title: (name, overview) => `Retry ${plural(overview.failed, "failed unit")} of ${name}?`,
    text: () => ["The run starts again in the background, tries the failed units once more, and redoes the phases that come after."],
    confirm: "Retry",
  },
  reset: {
    label: "Reset…",
    title: (name) => `Start ${name} over?`,
    text: () => ["A backup is made first; `perdure restore` brings it back.", "Then all progress of this run is cleared. Downloaded and sampled data stay."],
    confirm: "Back up and reset",
    dangerous: true,
  },
  promote: {
    label: "Promote…",
    title: (name) => `Promote a model of ${name}?`,
    text: () => ["It becomes the champion that predictions are made with.", "A model that the gate did not pass needs a reason, which is recorded."],
    confirm: "Promote",
    fields: () => [
      { name: "version", label: "Version (empty: the challenger)", type: "number" },
      { name: "reason", label: "Reason (needed to override the gate)" },
    ],
  },
  rollback: {
    label: "Roll back…",
    title: () => "Go back to the champion before?",
    text: () => ["The version that was champion before this one is used for predictions again."],
    confirm: "Roll back",
    dangerous: true,
    fields: () => [{ name: "reason", label: "Reason, for the record", required: true }],
  },
};

/** Buttons for what makes sense now. */
export function actions(id, overview, context) {
  const possible = Object.keys(ACTIONS).filter((name) => overview.actions?.includes(name));
  return el("div", { class: "actions" }, possible.map((name) => el("button", {
    key: name, type: "button", class: `button ${name === "reset" ? "quiet-danger" : ""}`, onclick: () => act(name, id, overview, context),
  }, ACTIONS[name].label)));
}

export async function act(name, id, overview, context) {
  const action = ACTIONS[name];
  const shown = visible(overview.name ?? id);
  const filled = await ask({
    title: action.title(shown, overview), text: action.text(), confirm: action.confirm, dangerous: action.dangerous,
    fields: action.fields?.() ?? [],
  });
  if (filled === null) return;
  filled.version = filled.version ? Number(filled.version) : null;
  const asked = toast(`${action.confirm}: asked for; this may take some seconds.`, { seconds: 300 });
  try {
    const { said } = await post(of(id, name), filled);
    toast(visible(said) || "Done.");
  } catch (error) {
    toast(error instanceof Refused ? visible(error.message) : "The dashboard's server does not answer; whether it was done is not known.", { bad: true });
  } finally {
    asked.remove();
  }
  context.refresh();
}

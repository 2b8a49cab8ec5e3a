// Questions before an action, and what came of it.

import { el } from "../core/dom.js";
import { prose } from "./pieces.js";

/** Ask; the promise gives what was filled in, or null. fields: [{name, label, type?, required?, value?}] */
export function ask({ title, text, confirm, dangerous = false, fields = [] }) {
  return new Promise((answer) => {
    const inputs = fields.map((field) => [field, el("input", {
      id: `field-${field.name}`, name: field.name, type: field.type ?? "text", required: field.required, value: field.value ?? "",
      autocomplete: "off", min: field.type === "number" ? 1 : null,
    })]);
    const close = (value) => { dialog.close(); dialog.remove(); answer(value); };
    const form = el("form", { onsubmit: (event) => { event.preventDefault(); close(Object.fromEntries(inputs.map(([f, input]) => [f.name, input.value]))); } },
      el("h2", { id: "question" }, title),
      text.map((line) => el("p", null, prose(line))),
      inputs.map(([field, input]) => el("label", { class: "field tall", for: `field-${field.name}` }, el("span", null, field.label), input)),
      el("div", { class: "buttons" },
        el("button", { type: "button", class: "button", onclick: () => close(null) }, "Cancel"),
        el("button", { type: "submit", class: `button ${dangerous ? "danger" : "primary"}` }, confirm)));
    const dialog = el("dialog", { class: "question", "aria-labelledby": "question" }, form);
    dialog.addEventListener("cancel", (event) => { event.preventDefault(); close(null); });
    document.body.append(dialog);
    dialog.showModal();
    (inputs[0]?.[1] ?? form.querySelector("button")).focus(); // "Cancel": Enter alone never acts
  });
}

/** A short message at the foot of the page; what is given back can be removed before its time. */
export function toast(text, { bad = false, seconds = bad ? 20 : 7 } = {}) {
  const note = el("div", { class: `toast ${bad ? "bad" : ""}` }, text,
    el("button", { type: "button", "aria-label": "Dismiss", class: "icon-button", onclick: () => note.remove() }, "×"));
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 1000 * seconds);
  return note;
}

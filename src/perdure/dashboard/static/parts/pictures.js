// A picture at full size: zoom by wheel, buttons or + and -, move by dragging, arrows for the next one.

import { el } from "../core/dom.js";

const STEP = 1.3;

/** pictures: [{source, title}] */
export function openPictures(pictures, first) {
  let at = first, zoom = 1, x = 0, y = 0, held = null;
  const image = el("img", { alt: "", draggable: "false" });
  const caption = el("span", { class: "caption" });
  const stage = el("div", { class: "stage" }, image);
  const place = () => { image.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`; };
  const go = (step) => {
    at = (at + step + pictures.length) % pictures.length;
    [zoom, x, y] = [1, 0, 0];
    image.src = pictures[at].source;
    image.alt = pictures[at].title;
    caption.textContent = `${pictures[at].title} (${at + 1} of ${pictures.length})`;
    place();
  };
  const scale = (factor) => { zoom = Math.min(8, Math.max(1, zoom * factor)); if (zoom === 1) [x, y] = [0, 0]; place(); };
  const button = (label, text, act) => el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick: act }, text);
  const dialog = el("dialog", { class: "pictures", "aria-label": "Plot" },
    el("header", null, caption, el("div", { class: "aside" },
      button("Previous", "‹", () => go(-1)), button("Next", "›", () => go(1)), button("Zoom out", "−", () => scale(1 / STEP)),
      button("Zoom in", "+", () => scale(STEP)), button("Close", "×", () => dialog.close()))),
    stage);
  const keys = { ArrowLeft: () => go(-1), ArrowRight: () => go(1), "+": () => scale(STEP), "=": () => scale(STEP), "-": () => scale(1 / STEP), 0: () => scale(0) };
  dialog.addEventListener("keydown", (event) => { if (keys[event.key]) { event.preventDefault(); keys[event.key](); } });
  dialog.addEventListener("close", () => dialog.remove());
  stage.addEventListener("wheel", (event) => { event.preventDefault(); scale(event.deltaY < 0 ? STEP : 1 / STEP); }, { passive: false });
  stage.addEventListener("dblclick", () => scale(zoom > 1 ? 0 : 2.5));
  stage.addEventListener("pointerdown", (event) => { held = [event.clientX - x, event.clientY - y]; stage.setPointerCapture(event.pointerId); });
  stage.addEventListener("pointermove", (event) => { if (held && zoom > 1) { [x, y] = [event.clientX - held[0], event.clientY - held[1]]; place(); } });
  stage.addEventListener("pointerup", () => { held = null; });
  document.body.append(dialog);
  go(0);
  dialog.showModal();
}

// The page: where we are (the hash), what is shown there, and keeping it up to date.

import { Refused, get, of } from "./core/api.js";
import { tick } from "./core/clock.js";
import { el, show } from "./core/dom.js";
import { moment, visible } from "./core/format.js";
import { Live } from "./core/live.js";
import { empty } from "./parts/pieces.js";
import { runHeader, TABS } from "./pages/run.js";
import { RunsPage } from "./pages/runs.js";

const main = document.getElementById("main");
let place = null; // {id, tab, page, overview}: what is shown now
let folder = "";

const context = { redraw: draw, refresh: () => live.ask() };
const live = new Live({ refresh, status: connection });

/** "#/run/ID/TAB/REST" -> {id, tab, rest}; "#/" -> {id: null} */
function route() {
  const parts = location.hash.replace(/^#\/?/, "").split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  if (parts[0] !== "run" || !parts[1]) return { id: null };
  const tab = TABS.find((one) => one.name === parts[2]) ?? TABS[0];
  return { id: parts[1], tab, rest: parts.slice(3).join("/") };
}

function go() {
  const { id, tab, rest } = route();
  if (place && place.id === id && place.tab === tab) place.page.open?.(rest);
  else {
    const overview = place?.id === id ? place.overview : null;
    const page = id === null ? new RunsPage(context) : new tab.Page({ ...context, id });
    place = { id, tab, page, overview, failure: null, loaded: false };
    page.open?.(rest);
    scrollTo(0, 0);
    live.follow(id);
  }
  draw();
  live.ask(true);
}

async function refresh() {
  const here = place;
  try {
    if (here.id !== null) here.overview = await get(of(here.id));
    if (!unreadable(here)) await here.page.load(here.overview);
    Object.assign(here, { loaded: true, failure: null });
    folder = here.page.folder ?? folder;
  } catch (error) {
    if (!(error instanceof Refused) || error.status >= 500) throw error;
    here.failure = error;
  }
  if (here === place) draw();
}

function draw() {
  if (!place) return;
  const { id, overview, page, tab, failure, loaded } = place;
  document.title = id === null ? "perdure" : `${visible(overview?.name ?? id)} · ${tab.title} · perdure`;
  drawTop();
  if (failure) show(main, failed(failure));
  else if (id === null) show(main, loaded ? page.view() : loading());
  else show(main, overview ? runHeader(id, overview, tab, context) : null, el("div", { class: "page", key: tab.name }, unreadable(place) ? mend(overview) : loaded ? page.view(overview) : loading()));
  tick();
  bringTab();
}

/** On a phone the tabs are a strip: bring the one that is open into sight, once. */
function bringTab() {
  const tab = document.querySelector(".tabs [aria-current]");
  if (!tab || place.brought === place.tab) return;
  place.brought = place.tab;
  tab.parentElement.scrollLeft = tab.offsetLeft - tab.parentElement.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;
}

/** A run whose database cannot be read has nothing to show but its log. */
const unreadable = ({ overview, tab }) => Boolean(overview?.message) && tab.name !== "log";
const mend = (overview) => empty("This run cannot be read as it is.", `${visible(overview.message)}. Its log is there, and its files are untouched.`);
const loading = () => el("p", { class: "empty", "aria-busy": "true" }, "Loading…");

function failed(error) {
  if (error.status === 401) return empty("This session has ended.", "Open the address that `perdure ui` printed once more.");
  if (error.status === 404) return el("div", { class: "empty" }, el("p", { class: "empty-title" }, "There is no such run here."), el("p", null, el("a", { href: "#/" }, "All runs")));
  return empty("The server refused this.", visible(error.message));
}

// -- the bar at the top ------------------------------------------------------------------------------------------

let connected = "";

function drawTop() {
  const { id, overview } = place;
  show(document.getElementById("top"),
    el("a", { class: "brand", href: "#/", "aria-label": "perdure: all runs" }, el("img", { src: "/static/icon.svg", alt: "", width: 20, height: 20 }), "perdure"),
    el("nav", { class: "crumbs", "aria-label": "Where you are" },
      id === null ? el("span", { class: "dim" }, el("bdi", null, visible(folder))) : [el("a", { href: "#/" }, "runs"), el("span", { class: "dim" }, "/"), el("bdi", null, visible(overview?.name ?? id))]),
    el("span", { class: `connection ${connected}` }, el("i"), connected === "lost" ? "offline" : "live"),
    el("button", { class: "icon-button theme", type: "button", onclick: () => { theme.next(); drawTop(); }, "aria-label": `Theme: ${theme.chosen}. Change it`, title: `Theme: ${theme.chosen}` },
      { auto: "◐", light: "○", dark: "●" }[theme.chosen], el("span", null, theme.chosen)));
}

let lastGood = null;

function connection(status, error) {
  if (status === "lost" && connected !== "lost" && error && !(error instanceof TypeError) && !(error instanceof Refused)) throw error;
  connected = status;
  if (status !== "lost") lastGood = Date.now() / 1000;
  const banner = document.getElementById("banner");
  if (status === "lost") {
    const told = error instanceof Refused ? visible(error.message) : "The dashboard's server does not answer.";
    show(banner, el("p", { class: "banner" }, `${told} What you see is as of ${moment(lastGood)}; trying again. Training goes on without it.`));
  } else show(banner);
  if (place) drawTop();
}

addEventListener("hashchange", go);
setInterval(tick, 1000);
go();

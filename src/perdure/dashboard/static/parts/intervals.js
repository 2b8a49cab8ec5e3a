// Metrics with their intervals, found wherever they are in a document: {value, low, high} is one.

import { el } from "../core/dom.js";
import { count, number, visible, words } from "../core/format.js";
import { table } from "./pieces.js";

const CHANCE = { auc: 0.5, rank_ic: 0, icir: 0, net_return: 0 };
const UNITS = { net_return: [1e4, "bp"] }; // factor and unit; the others are shares or have none
const ACRONYMS = { auc: "AUC", ece: "calibration error (ECE)", rank_ic: "rank IC", icir: "ICIR", brier: "Brier score", log_loss: "log-loss", recall_at_1pct_fpr: "recall at 1% false positives", recall_at_precision_99: "recall at 99% precision", n: "n", net_return: "net return of a basket" };

/** A metric's value in its unit. */
function shown(name, value) {
  const [factor, unit] = UNITS[name] ?? [1, ""];
  return value === null || value === undefined ? "–" : `${number(value * factor)}${unit && ` ${unit}`}`;
}

export const named = (name) => ACRONYMS[name] ?? words(name);

export function isInterval(thing) {
  return thing !== null && typeof thing === "object" && "value" in thing && "low" in thing && "high" in thing && [thing.value, thing.low, thing.high].every((v) => v === null || typeof v === "number");
}

/** Every object that holds intervals, and every list of such objects: {groups: [[path, object]], lists: [[path, rows]]}. */
export function intervalsIn(document, path = [], found = { groups: [], lists: [] }) {
  if (document === null || typeof document !== "object" || path.length > 6) return found;
  if (Array.isArray(document)) {
    const plain = document.length > 0 && document.every((row) => row !== null && typeof row === "object" && !Array.isArray(row));
    if (plain && document.length <= 100 && document.some((row) => Object.values(row).some(isInterval))) found.lists.push([path, document]);
    else if (plain && document.length <= 40 && document.every((row) => Object.values(row).every((v) => v === null || typeof v !== "object"))) found.lists.push([path, document]);
    return found;
  }
  if (Object.values(document).some(isInterval)) found.groups.push([path, document]);
  for (const [name, child] of Object.entries(document)) if (!isInterval(child)) intervalsIn(child, [...path, name], found);
  return found;
}

/** A table of one object's metrics. */
export function metricTable(label, metrics) {
  const rows = Object.entries(metrics).filter(([, entry]) => isInterval(entry) && entry.value !== null);
  const unknown = Object.entries(metrics).filter(([, entry]) => isInterval(entry) && entry.value === null).map(([name]) => named(name));
  return [
    table(label, [
      { title: "Metric", cell: ([name]) => named(name) },
      { title: "Value", number: true, cell: ([name, entry]) => el("strong", null, shown(name, entry.value)) },
      { title: "Interval", number: true, cell: ([name, entry]) => between(name, entry) },
      { title: "", class: "range-cell roomy", cell: ([name, entry]) => range(entry, domain([entry], CHANCE[name]), CHANCE[name]) },
    ], rows),
    unknown.length > 0 && el("p", { class: "note" }, `Undefined on this data: ${unknown.join(", ")}.`),
  ];
}

/** A list of objects as a table, `main` naming them: names and counts, each metric with its interval, the first of them drawn to one scale. */
export function breakdown(label, rows, main) {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const metrics = keys.filter((key) => rows.some((row) => isInterval(row[key]) && row[key].value !== null));
  const plain = keys.filter((key) => rows.every((row) => row[key] === null || row[key] === undefined || typeof row[key] !== "object"));
  const title = plain.filter((key) => key === main || rows.every((row) => typeof row[key] === "string")).sort((a, b) => (b === main) - (a === main));
  const drawn = metrics.includes("auc") ? "auc" : metrics[0];
  const scale = drawn && domain(rows.map((row) => row[drawn]), CHANCE[drawn]);
  const rest = plain.filter((key) => !title.includes(key)).slice(0, metrics.length ? 3 : 8);
  return table(label, [
    ...title.slice(0, 3).map((key) => ({ title: named(key), class: "name-cell", cell: (row) => el("bdi", null, visible(row[key])) })),
    ...rest.map((key) => ({ title: named(key), number: true, cell: (row) => (typeof row[key] === "boolean" ? (row[key] ? "yes" : "no") : number(row[key])) })),
    ...(drawn ? [{ title: `${named(drawn)}, on one scale`, class: "range-cell", cell: (row) => range(row[drawn], scale, CHANCE[drawn]) }] : []),
    ...metrics.slice(0, 6).map((key) => ({ title: named(key), number: true, cell: (row) => [shown(key, row[key]?.value), row[key] && row[key].low !== null && el("small", { class: "dim" }, ` ${between(key, row[key])}`)] })),
  ], rows);
}

function between(name, entry) {
  return entry.low === null || entry.high === null ? "–" : `${number(entry.low * (UNITS[name]?.[0] ?? 1))} to ${shown(name, entry.high)}`;
}

function domain(entries, chance) {
  const values = entries.flatMap((entry) => (entry ? [entry.value, entry.low, entry.high] : [])).filter((value) => value !== null && value !== undefined);
  if (chance !== undefined) values.push(chance);
  if (entries.length === 1) values.push(0);
  const low = Math.min(...values), high = Math.max(...values);
  if (entries.length === 1 && low >= 0 && high <= 1 && high > 0.1) return [0, 1];
  const margin = (high - low) * 0.06 || 1;
  return [low - margin, high + margin];
}

function range(entry, [from, to], chance) {
  if (!entry || entry.value === null) return el("span", { class: "dim" }, "–");
  const at = (value) => `${(100 * (value - from)) / (to - from)}%`;
  const low = entry.low ?? entry.value, high = entry.high ?? entry.value;
  return el("span", { class: "range", "aria-hidden": "true" },
    chance !== undefined && el("u", { style: { left: at(chance) } }),
    el("i", { style: { left: at(low), right: `calc(100% - ${at(high)})` } }),
    el("b", { style: { left: at(entry.value) } }));
}

/** Four counts of a two-class test as a square. */
export function confusion(counts) {
  const cell = (name, good) => el("td", { class: good ? "good-cell" : "bad-cell" }, el("strong", null, count(counts[name])), el("small", null, words(name)));
  return el("table", { class: "confusion" },
    el("thead", null, el("tr", null, el("th", null, ""), el("th", { scope: "col" }, "said yes"), el("th", { scope: "col" }, "said no"))),
    el("tbody", null,
      el("tr", null, el("th", { scope: "row" }, "is"), cell("true_positive", true), cell("false_negative", false)),
      el("tr", null, el("th", { scope: "row" }, "is not"), cell("false_positive", false), cell("true_negative", true))));
}

export function confusionIn(document, depth = 0) {
  if (document === null || typeof document !== "object" || depth > 4) return null;
  if ("true_positive" in document && "false_negative" in document) return document;
  for (const child of Object.values(document)) {
    const found = Array.isArray(child) ? null : confusionIn(child, depth + 1);
    if (found) return found;
  }
  return null;
}

// Numbers, times and names as people read them; every number carries its unit.

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}]/gu;
const NONE = "–";

/** A name with whatever cannot be seen written out: it cannot turn or hide the text around it. */
export function visible(text) {
  return String(text ?? "").replace(HIDDEN, (c) => (c === "\n" ? c : `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`));
}

export function count(value) {
  return value === null || value === undefined ? NONE : Number(value).toLocaleString("en");
}

export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Four significant figures, or as many as are needed. */
export function number(value) {
  if (value === null || value === undefined) return NONE;
  if (typeof value !== "number") return visible(value);
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e15) return value.toExponential(3);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  if (size >= 1000) return value.toLocaleString("en", { maximumFractionDigits: 1 });
  if (size >= 1e-4) return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 0.01 ? 4 : 6);
  return value.toExponential(2);
}

export function percent(share, digits = 1) {
  return share === null || share === undefined ? NONE : `${(share * 100).toFixed(digits)}%`;
}

/** Progress: never "100%" before it is. */
export function progress(share) {
  if (share === null || share === undefined) return NONE;
  return `${share >= 1 ? 100 : Math.min(99, Math.floor(share * 100))}%`;
}

export function bytes(size) {
  if (size === null || size === undefined) return NONE;
  if (size < 1000) return `${size} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = size / 1000, unit = 0;
  while (value >= 999.5 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const s = Math.max(0, seconds);
  if (s === 0) return "0 s";
  if (s < 0.9995) return s < 0.001 ? "<1 ms" : `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const minutes = Math.round(s / 60);
  if (s < 3600 - 30) return s < 600 ? `${Math.floor(Math.round(s) / 60)} min ${Math.round(s) % 60} s` : `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function ago(at, now = Date.now() / 1000) {
  if (at === null || at === undefined) return "never";
  const s = Math.max(0, now - at);
  if (s < 1.5) return "just now";
  if (s < 59.5) return `${Math.round(s)} s ago`;
  if (s < 3570) return `${Math.round(s / 60)} min ago`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

/** A moment, with the date where it is not today's. */
export function moment(at) {
  if (at === null || at === undefined) return NONE;
  const when = new Date(at * 1000);
  const pad = (n) => String(n).padStart(2, "0");
  const clock = `${pad(when.getHours())}:${pad(when.getMinutes())}:${pad(when.getSeconds())}`;
  return when.toDateString() === new Date().toDateString()
    ? clock
    : `${when.getFullYear()}-${pad(when.getMonth() + 1)}-${pad(when.getDate())} ${clock}`;
}

/** "val_auc_by_block" -> "val AUC by block" */
export function words(name) {
  return visible(name).replace(/_/g, " ").replace(/\bauc\b/g, "AUC");
}

// Requests to the local server, and nothing else.

let session = null;

export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export async function get(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== ""));
  const text = query.toString();
  return answer(await fetch(`/api/${path}${text ? `?${text}` : ""}`, { headers: { Accept: "application/json" } }));
}

export async function post(path, body = {}) {
  session ??= await get("session");
  return answer(await fetch(`/api/${path}`, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Perdure-Token": session.token },
    body: JSON.stringify(body),
  }));
}

export const of = (id, what = "") => `runs/${encodeURIComponent(id)}${what && `/${what}`}`;

export function fileOf(id, path) {
  return `/api/${of(id)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

async function answer(response) {
  const text = await response.text();
  let document = null;
  try { document = JSON.parse(text); } catch { /* not JSON: the status says what it is */ }
  if (response.ok && document !== null) return document;
  throw new Refused(document?.error ?? `the server answered ${response.status}`, response.status);
}

import { language } from "./text.js";

/** APIError is an answer of the service that says what is wrong. */
export class APIError extends Error {
  constructor(status, p) {
    super(p.detail || p.title || String(status));
    this.status = status;
    this.problem = p;
    this.code = p.code || "";
  }
}

async function call(method, path, { body, headers, signal, type } = {}) {
  const h = { "Accept-Language": language(), ...headers };
  if (body !== undefined) h["Content-Type"] = type || "application/json";
  const res = await fetch("/api/v1/" + path, {
    method, headers: h, signal, credentials: "same-origin",
    body: body === undefined ? undefined : type ? body : JSON.stringify(body),
  });
  if (!res.ok) {
    let p = { title: res.statusText };
    try { p = await res.json(); } catch { /* no problem details */ }
    if (res.status === 401) dispatchEvent(new CustomEvent("no-session", { detail: p }));
    throw new APIError(res.status, p);
  }
  return res;
}

/** get reads a document. */
export async function get(path, o) { return (await call("GET", path, o)).json(); }

/** getText reads a text with its entity tag. */
export async function getText(path, o) {
  const res = await call("GET", path, o);
  return { text: await res.text(), tag: res.headers.get("ETag") };
}

/** post sends a document and reads the answer. */
export async function post(path, body, o) {
  const res = await call("POST", path, { body: body === undefined ? {} : body, ...o });
  const t = await res.text();
  return t ? JSON.parse(t) : null;
}

/** putText replaces a text whose entity tag is known. */
export async function putText(path, text, tag) {
  const res = await call("PUT", path, { body: text, type: "text/yaml", headers: { "If-Match": tag } });
  return { report: await res.json(), tag: res.headers.get("ETag") };
}

/** remove deletes. */
export async function remove(path) { await call("DELETE", path); }

/** notOffered says that this service does not have that part at all. */
export function notOffered(err) {
  return err instanceof APIError && (err.code === "PD2206" || err.status === 404 && err.code === "");
}

/** maybe reads a document, or null where the service does not have that part. */
export async function maybe(path, o) {
  try { return await get(path, o); } catch (err) {
    if (notOffered(err)) return null;
    throw err;
  }
}

/** offers says whether a download exists, without reading it. */
export async function offers(path) {
  const stop = new AbortController();
  try {
    await call("GET", path, { signal: stop.signal });
    return true;
  } catch (err) {
    return !notOffered(err);
  } finally {
    stop.abort();
  }
}

/** q makes a query of what is set. */
export function q(o) {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(o)) if (v !== null && v !== undefined && v !== "") p.set(k, v);
  const t = p.toString();
  return t ? "?" + t : "";
}

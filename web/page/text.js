// Words, numbers and times as a person reads them.
import { messages } from "./messages.js";

let lang = pick();
let zone = "UTC";

function pick() {
  let want = null;
  try { want = localStorage.getItem("pneudaq.language"); } catch { /* storage is off */ }
  if (want === "en" || want === "zh") return want;
  return (navigator.languages || [navigator.language]).some((l) => /^zh/i.test(l)) ? "zh" : "en";
}

/** language is en or zh. */
export function language() { return lang; }

/** setLanguage keeps the choice for this browser. */
export function setLanguage(l) {
  lang = l;
  try { localStorage.setItem("pneudaq.language", l); } catch { /* not kept */ }
  formats.clear();
}

/** t gives the words of a message; {0}, {1} ... are replaced. */
export function t(key, ...args) {
  const m = messages[key];
  if (!m) { console.error("no message " + key); return key; }
  return m[lang === "zh" ? 1 : 0].replace(/\{(\d)\}/g, (_, i) => String(args[i] ?? ""));
}

/** has says whether there is such a message. */
export function has(key) { return Object.hasOwn(messages, key); }

/** reason gives the words of a quality or gap reason. */
export function reason(name) { return has("reason." + name) ? t("reason." + name) : name; }

/** eventName gives the words of an event code, if the page knows it. */
export function eventName(code) { return has("event." + code) ? t("event." + code) : ""; }

/** title picks the language of a document that carries both. */
export function title(d) { return (lang === "zh" ? d.title_zh : d.title_en) || d.title_en || d.name; }

/** setZone says in which zone times are shown: that of the service. */
export function setZone(z) {
  try { new Intl.DateTimeFormat("en", { timeZone: z }); zone = z; } catch { zone = "UTC"; }
  formats.clear();
}

/** zoneName is shown wherever times are. */
export function zoneName() { return zone === "Etc/UTC" ? "UTC" : zone; }

const formats = new Map();

function parts(ms) {
  let f = formats.get("p");
  if (!f) {
    f = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" });
    formats.set("p", f);
  }
  const o = {};
  for (const p of f.formatToParts(Math.floor(ms))) o[p.type] = p.value;
  return o;
}

/** offset of the zone at an instant, in ms. */
export function zoneOffset(ms) {
  const p = parts(ms);
  return Date.UTC(+p.year, +p.month - 1, +p.day, +p.hour, +p.minute, +p.second) - Math.floor(ms / 1000) * 1000;
}

/** clock is the time of day, with so many decimals of the second. */
export function clock(ms, decimals = 0) {
  const p = parts(ms);
  let out = `${p.hour}:${p.minute}:${p.second}`;
  if (decimals) out += (((ms % 1000) + 1000) % 1000 / 1000).toFixed(6).slice(1, 2 + decimals);
  return out;
}

/** day is year-month-day. */
export function day(ms) {
  const p = parts(ms);
  return `${p.year}-${p.month}-${p.day}`;
}

/** when is day and time; it takes RFC 3339 or ms. */
export function when(v, decimals = 0) {
  if (v === undefined || v === null || v === "") return "–";
  const ms = typeof v === "number" ? v : Date.parse(v);
  return `${day(ms)} ${clock(ms, decimals)}`;
}

/** sinceNow is when, short if it was today. */
export function sinceNow(v, now = Date.now()) {
  if (!v) return "–";
  const ms = typeof v === "number" ? v : Date.parse(v);
  return day(ms) === day(now) ? clock(ms) : when(ms);
}

/** span is a duration in words that fit a table. */
export function span(ms) {
  if (!Number.isFinite(ms)) return "–";
  const sec = Math.max(0, ms / 1000);
  if (sec < 10) return `${trim(sec, 3)} s`;
  if (sec < 60) return `${trim(sec, 1)} s`;
  const p = (n) => String(Math.floor(n)).padStart(2, "0");
  const hours = Math.floor(sec / 3600);
  if (hours < 48) return (hours ? `${hours}:${p(sec / 60 % 60)}` : `${Math.floor(sec / 60)}`) + `:${p(sec % 60)}` + (hours ? " h" : " min");
  return `${trim(sec / 86400, 1)} d`;
}

function trim(v, n) { return String(+v.toFixed(n)); }

/** windowName is a round span of time. */
export function windowName(sec) {
  return sec < 60 ? `${sec} s` : sec < 3600 ? `${sec / 60} min` : `${sec / 3600} h`;
}

/** period names how often a group is read. */
export function period(ms) {
  if (!ms) return "";
  return ms >= 1000 ? `${trim(ms / 1000, 2)} s` : `${trim(ms, 3)} ms`;
}

/** count has thin spaces between thousands. */
export function count(n) {
  if (n === null || n === undefined) return "–";
  return String(Math.round(n)).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** bytes in binary units. */
export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (Math.abs(n) >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

/** figure shortens a number to some digits, for axes, plans and statistics. */
export function figure(v, digits = 4) {
  if (v === null || v === undefined || !Number.isFinite(v)) return "–";
  if (v === 0) return "0";
  const a = Math.abs(v);
  return a >= 1e6 || a < 1e-4 ? v.toExponential(Math.max(0, digits - 2)) : String(+v.toPrecision(digits));
}

/** decimals says how many a channel's readings are shown with: some 1e-5 of its range. */
export function decimals(c) {
  if (c.low === null || c.high === null || c.low === undefined || c.high === undefined || !(c.high > c.low)) return -1;
  if (c.unit === "" || c.unit === "count") return -1;
  return Math.min(c.high - c.low < 2 ? 6 : 3, Math.max(0, Math.round(4.6 - Math.log10(c.high - c.low))));
}

/** reading shows one number of a channel. */
export function reading(v, digits) {
  if (v === null || v === undefined || !Number.isFinite(v)) return "–";
  if (digits >= 0) return v.toFixed(digits).replace("-", "\u2212");
  return (Number.isInteger(v) ? String(v) : figure(v, 6)).replace("-", "\u2212");
}

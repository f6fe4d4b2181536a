import { get, maybe, post, q } from "./api.js";
import { button, h, put, s } from "./dom.js";
import { live } from "./live.js";
import { bytes, count, eventName, figure, sinceNow, t, when, zoneName } from "./text.js";

/** HealthView says what runs, how well, and what to do where it does not. */
export class HealthView {
  constructor(host, app) {
    this.host = host;
    this.app = app;
    this.problems = h("section.card");
    this.forwarders = h("section.card");
    this.store = h("section.card");
    this.clock = h("section.card");
    this.service = h("section.card");
    this.buses = h("section.card");
    this.log = h("section.card");
    this.reconcile = h("section.card", { hidden: true });
    this.link = h("div");
    put(host, this.problems, h("div.three", null, this.store, this.clock, this.service), this.forwarders, this.buses, this.reconcile, this.log);
    this.onProblem = () => this.paintProblems(live.problems);
    this.onEvent = () => { this.stale = true; };
    live.addEventListener("problem", this.onProblem);
    live.addEventListener("event", this.onEvent);
    this.stale = true;
    this.load();
    this.compare();
  }

  close() {
    this.closed = true;
    live.removeEventListener("problem", this.onProblem);
    live.removeEventListener("event", this.onEvent);
  }

  tick() {
    this.beats = (this.beats || 0) + 1;
    if (this.beats % 3 === 0 && !document.hidden) this.load();
  }

  async load() {
    if (this.busy) return;
    this.busy = true;
    try {
      const [d, rigs] = await Promise.all([maybe("health"), maybe("rigs")]);
      if (this.closed) return;
      if (d) this.paint(d); else put(this.problems, h("p.empty", null, t("health.notOffered")));
      if (rigs) this.paintBuses(rigs.rigs);
      if (this.stale) { this.stale = false; this.paintLog(await maybe("events" + q({ limit: 300 }))); }
      this.app.clear("health");
    } catch (err) { this.app.notify(err, "health"); } finally { this.busy = false; }
  }

  paintProblems(list) {
    put(this.problems, h("h2", null, t("health.problems")), list.length ? h("ul.messages", null, list.map((p) => h("li." + (p.severity === "error" ? "bad" : "warn"), null,
      h("i.dot", { title: t("health." + (p.severity === "error" ? "error" : "warning")) }),
      h("span", null, h("b", null, p.what), " ", h("code.sub", null, p.code)),
      p.do ? h("span.do", null, p.do) : null,
      h("span.where", null, [p.rig, p.bus, p.group, p.channel, p.where, p.since ? t("health.since", sinceNow(p.since)) : ""].filter(Boolean).join(" · "))))) : h("p.pad.state.ok", null, h("i.dot"), t("health.noProblems")));
    for (const e of this.problems.querySelectorAll("li")) { e.style.color = "var(--ink)"; e.firstChild.style.alignSelf = "center"; }
  }

  paint(d) {
    this.paintProblems(d.problems);
    const facts = (rows) => h("dl.facts.pad", null, rows.filter((r) => r[1] !== null && r[1] !== undefined && r[1] !== "").map(([k, v, cls]) => [h("dt", null, k), h("dd", { class: cls || "" }, v)]));
    put(this.store, h("h2", null, t("health.store")), facts([
      [t("health.dir"), d.store.dir], [t("health.size"), bytes(d.store.bytes)], [t("health.written"), bytes(d.store.written_bytes)], [t("health.perDay"), bytes(d.store.bytes_per_day)],
      [t("health.free"), d.store.free_bytes ? bytes(d.store.free_bytes) : null], [t("health.daysLeft"), d.store.days_left === null || d.store.days_left === undefined ? "–" : figure(d.store.days_left, 3), d.store.days_left < 7 ? "bad" : ""],
      [t("health.commit"), figure(d.store.commit_p99_ms, 3) + " ms"], [t("health.age"), figure(d.store.age_p99_ms, 3) + " ms"], ["", d.store.warning || "", "bad"]]));
    put(this.clock, h("h2", null, t("health.clock")), facts([
      [t("health.source"), d.clock.source], [t("health.synchronised"), d.clock.synchronised ? t("yes") : t("no"), d.clock.synchronised ? "ok" : "bad"], [t("health.error99"), figure(d.clock.estimated_error_ms, 3) + " ms"],
      [t("health.drift"), d.clock.drift_ms.toFixed(3).replace("-", "\u2212") + " ms"], [t("health.steps"), count(d.clock.steps)], [t("health.zone"), d.clock.zone || zoneName()]]));
    if (!this.linkMade) put(this.link, this.app.operator ? button(t("health.link"), () => this.makeLink()) : null);
    put(this.service, h("h2", null, t("health.service")), facts([
      [t("health.version"), d.version], [t("health.started"), when(d.started)], ["", d.simulated ? h("span.mark", null, t("app.simulated")) : null]]), h("div.pad", null, this.link));
    put(this.forwarders, h("h2", null, t("health.forwarders")), d.forwarders.length ? h("div.list", null, h("table", null,
      h("thead", null, h("tr", null, ["sink", "state"].map((k) => h("th", { scope: "col" }, t("health." + k))), ["stored", "deliveredN", "waiting", "refused"].map((k) => h("th.right", { scope: "col" }, t("health." + k))), h("th", { scope: "col" }, t("health.lastAnswer")), h("th", { scope: "col" }))),
      h("tbody", null, d.forwarders.map((f) => h("tr", null, h("th", { scope: "row" }, f.name), h("td", null, h("span.state." + (f.state === "ok" ? "ok" : f.state === "retrying" ? "warn" : "bad"), null, h("i.dot"), t("health." + f.state))),
        h("td.r", null, count(f.stored)), h("td.r", null, count(f.delivered)), h("td.r", { class: "r " + (f.waiting ? "warn" : "") }, count(f.waiting)), h("td.r", { class: "r " + (f.refused ? "bad" : "") }, count(f.refused)), h("td", null, sinceNow(f.last_answer)), h("td.wrap", null, [f.what, f.do].filter(Boolean).join(" "))))))) : h("p.pad.sub", null, t("health.noForwarders")));
  }

  async makeLink() {
    try {
      const d = await post("session/link");
      this.linkMade = true;
      put(this.link, t("health.linkHint"), h("pre.sample", null, d.url));
    } catch (err) { this.app.notify(err, "link"); }
  }

  paintBuses(rigs) {
    put(this.buses, h("h2", null, t("health.buses")), rigs.flatMap((rig) => rig.buses.map((b) => {
      const x = b.stats, stat = (k, v, bad) => h("div", null, h("span.sub", null, t("health." + k)), h("b", { class: bad && v ? "bad" : "" }, count(v)));
      const exceptions = Object.values(x.exceptions || {}).reduce((p, n) => p + n, 0);
      const mqtt = b.protocol === "mqtt";
      return h("div.bus-card", null, h("div", null,
        h("div.state." + (b.up ? "ok" : "bad"), null, h("i.dot"), h("b", null, rig.name + " / " + b.name), h("span.sub", null, b.endpoint)),
        h("p.sub", { class: b.up ? "sub" : "bad" }, b.problem || (b.since ? t(b.up ? "bus.since" : "bus.downSince", sinceNow(b.since)) : "")),
        h("div.stats", null, mqtt ? [stat("messages", x.messages || 0), stat("unacked", x.unacked || 0)] : [stat("requests", x.requests), stat("answers", x.answers), stat("timeouts", x.timeouts, true), stat("late", x.late, true)],
          stat("duplicate", x.duplicate, true), mqtt ? null : [stat("crc", x.crc, true), stat("exceptions", exceptions, true)], stat("reconnects", b.reconnects, true)),
        exceptions ? h("p.sub", null, Object.entries(x.exceptions).map(([k, n]) => `${k}: ${n}`).join(", ")) : null,
        x.units && x.units.length ? h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, t("health.unit")), ["requests", "timeouts", "late"].map((k) => h("th.right", { scope: "col" }, t("health." + k))), h("th", { scope: "col" }, t("health.lastFault")))),
          h("tbody", null, x.units.map((u) => h("tr", null, h("th", { scope: "row" }, `${u.unit}${u.device ? " · " + u.device : ""}`), h("td.r", null, count(u.requests)), h("td.r", { class: "r " + (u.timeouts ? "bad" : "") }, count(u.timeouts)), h("td.r", null, count(u.late)),
            h("td", null, u.quarantined ? h("span.bad", null, t("health.quarantined") + " ") : null, u.last_fault ? `${u.last_fault} ${sinceNow(u.last_fault_at)}` : "–"))))) : null),
      h("div", null, mqtt ? null : [h("h3", null, t("health.roundTrip")), histogram(x.round_trip_ms)]));
    })));
  }

  paintLog(d) {
    if (!d) { this.log.hidden = true; return; }
    put(this.log, h("h2", null, t("health.events")), d.events.length ? h("div.list.log", { tabindex: "0" }, h("table", null,
      h("thead", null, h("tr", null, h("th", { scope: "col" }, `${t("health.time")} (${zoneName()})`), h("th", { scope: "col" }, t("rec.rig")), h("th", { scope: "col" }, t("health.code")), h("th", { scope: "col" }, t("health.detail")))),
      h("tbody", null, d.events.slice().reverse().map((e) => h("tr", null, h("td", null, when(e.time, 3)), h("td", null, [e.rig, e.group].filter(Boolean).join("/")), h("td", null, eventName(e.code), " ", h("code.sub", null, e.code)), h("td.wrap", null, e.detail)))))) : h("p.empty", null, t("health.noEvents")));
  }

  async compare() {
    let d;
    try { d = await maybe("reconcile"); } catch { return; }
    if (!d || this.closed) return;
    const h0 = await maybe("health").catch(() => null);
    if (!h0 || !h0.forwarders.length || this.closed) return;
    this.reconcile.hidden = false;
    this.paintReports(d.reports || []);
  }

  paintReports(list) {
    put(this.reconcile, h("h2", null, t("health.reconcile")), list.length ? h("div.list", null, h("table", null, h("tbody", null, list.map((r) => h("tr", null, h("th", { scope: "row" }, r.sink),
      h("td", null, r.problem ? h("span.bad", null, r.problem) : h("span.state." + (r.agrees ? "ok" : "bad"), null, h("i.dot"), r.agrees ? t("health.agrees") : t("health.differs", r.differences.length))),
      h("td", null, `${t("health.samples")} ${count(r.samples)}`), h("td", null, `${when(r.from)} – ${when(r.to)}`)))))) : null,
    h("div.pad", null, this.app.operator ? button(t("health.reconcileRun"), async (e) => {
      e.target.disabled = true;
      try { const d = await post("reconcile", {}); this.paintReports((d && d.reports) || (await get("reconcile")).reports || []); } catch (err) { this.app.notify(err); e.target.disabled = false; }
    }) : null));
  }
}

const ms = (v) => v >= 1000 ? figure(v / 1000, 3) + " s" : figure(v, 2) + " ms";

/** histogram draws the counts of durations between bounds. */
function histogram(x) {
  const total = x.counts.reduce((a, b) => a + b, 0);
  if (!total) return h("p.sub", null, t("health.noRequests"));
  const at = (f) => { let n = 0; for (let i = 0; i < x.counts.length; i++) { n += x.counts[i]; if (n >= f * total) return i < x.bounds.length ? x.bounds[i] : Infinity; } return Infinity; };
  let first = x.counts.findIndex((n) => n > 0), last = x.counts.findLastIndex((n) => n > 0);
  first = Math.max(0, first - 1);
  last = Math.min(x.counts.length - 1, Math.max(last + 1, first + 7));
  const n = last - first + 1, w = 440, high = 84, bar = (w - 10) / n, most = Math.max(...x.counts);
  const words = t("health.roundTripOf", ms(at(0.5)), ms(at(0.99)), count(total));
  const g = s("svg", { viewBox: `0 0 ${w} 118`, class: "histogram", role: "img", "aria-label": words, preserveAspectRatio: "xMinYMid meet" });
  for (let i = 0; i < n; i++) {
    const k = first + i, v = x.counts[k], hgt = v ? Math.max(1.5, Math.log1p(v) / Math.log1p(most) * (high - 14)) : 0, left = 5 + i * bar;
    if (v) {
      g.append(s("rect", { class: "count", x: left + 1, y: high - hgt, width: Math.max(1, bar - 2), height: hgt }));
      g.append(s("text", { x: left + bar / 2, y: high - hgt - 3, "text-anchor": "middle" }, count(v)));
    }
    if (k < x.bounds.length && (i % Math.ceil(n / 8) === 0)) g.append(s("text", { x: Math.min(w - 16, left + bar), y: high + 14, "text-anchor": "middle" }, ms(x.bounds[k])));
  }
  g.append(s("line", { x1: 5, x2: w - 5, y1: high, y2: high }));
  return h("div", null, g, h("p.sub", null, words));
}

import { button, h, put, select, text } from "./dom.js";
import { style } from "./chart.js";
import { get, q } from "./api.js";
import { live } from "./live.js";
import { LiveEvaluation } from "./evaluation.js";
import { RecordBadge } from "./record.js";
import { Scope, addScopeButton } from "./scope.js";
import { day, decimals, figure, period, reading, reason, sinceNow, t } from "./text.js";

const sparkSpan = 60000;

/** LiveView shows one rig: buses, the record, the channels and scopes. */
export class LiveView {
  constructor(host, app, [rig]) {
    this.host = host;
    this.app = app;
    this.want = rig || "";
    this.scopes = [];
    this.rows = new Map();
    this.onState = (e) => this.state(e.detail);
    live.addEventListener("state", this.onState);
    put(host, h("p.empty", null, t("app.waiting")));
    if (live.ready) this.build();
  }

  close() {
    live.removeEventListener("state", this.onState);
    live.want("live", null);
    if (this.evaluation) this.evaluation.close();
    for (const s of this.scopes) s.close();
  }

  go([rig]) {
    this.want = rig || "";
    if (live.ready) this.build();
    return true;
  }

  state(kind) {
    if (kind === "hello") {
      const rig = live.rig(this.rig) && JSON.stringify(live.rig(this.rig).groups.map((g) => [g.name, g.channels]));
      if (rig && rig === this.shape) { for (const s of this.scopes) s.build(); this.paint(); } else this.build();
    } else if (this.badge) this.paint();
  }

  build() {
    for (const s of this.scopes) s.close();
    this.scopes = [];
    this.rows.clear();
    this.badge = null;
    const rig = live.rig(this.want) || live.rigs[0];
    if (!rig) { put(this.host, h("p.empty", null, t("live.noRig"))); return; }
    this.rig = rig.name;
    this.shape = JSON.stringify(rig.groups.map((g) => [g.name, g.channels]));
    this.badge = new RecordBadge(this.app, rig.name);
    if (this.evaluation) this.evaluation.close();
    this.evaluation = new LiveEvaluation(this.app, rig.name);
    this.buses = h("div.buses");
    this.table = this.channels(rig);
    this.stack = h("div.stack");
    this.armed = h("span.mark.armed", { title: t("live.armedWhy") }, t("live.armed"));
    put(this.host,
      h("div.rig-head", null,
        live.rigs.length > 1 ? select(t("live.rig"), live.rigs.map((r) => [r.name, r.name]), rig.name, (v) => { location.hash = "#/live/" + encodeURIComponent(v); }, { class: "rig-select" }) : h("h1", null, rig.name),
        h("span.about", null, [rig.site, rig.description].filter(Boolean).join(" · ")),
        rig.simulated ? h("span.mark", { title: t("app.simulatedWhy") }, t("app.simulated")) : null, this.armed, h("span.fill"), this.buses),
      this.badge.el,
      h("div.columns", null, h("section.card.channels", { "aria-label": t("live.channels") }, this.table), this.stack));
    this.names = rig.groups.flatMap((g) => g.channels.map((c) => rig.name + "/" + c.name));
    live.want("live", this.names.slice(0, 128));
    this.past(rig.name);
    this.layout = this.read(rig);
    this.stack.append(this.evaluation.el);
    for (const l of this.layout) this.add(l);
    this.foot = h("div.stack-foot", null, addScopeButton(() => {
      const l = { channels: [], window: 30 };
      this.layout.push(l);
      this.add(l);
      this.keep();
    }), button(t("scope.usual"), () => { try { localStorage.removeItem(this.key()); } catch { /* not kept */ } this.build(); }, { class: "quiet" }));
    this.stack.append(this.foot);
    this.paint();
  }

  /** past reads the last minute, so that the small curves begin whole. */
  async past(rig) {
    const now = live.now();
    try {
      const d = await get("data" + q({ rig, from: (now - sparkSpan).toFixed(3), to: now.toFixed(3), points: 100 }));
      for (const [name, series] of Object.entries(d.series)) {
        const r = this.rows.get(rig + "/" + name);
        if (r) r.past = { t: series.t, v: series.raw ? series.v : series.max };
      }
    } catch { /* the small curves then begin now */ }
  }

  key() { return "pneudaq.scopes." + this.rig; }

  read(rig) {
    try {
      const kept = JSON.parse(localStorage.getItem(this.key()));
      if (Array.isArray(kept) && kept.every((l) => Array.isArray(l.channels) && l.window > 0)) return kept;
    } catch { /* none */ }
    return usual(rig);
  }

  keep() { try { localStorage.setItem(this.key(), JSON.stringify(this.layout)); } catch { /* not kept */ } }

  add(layout) {
    const s = new Scope(layout, {
      changed: () => this.keep(), all: () => this.names, short: (n) => n.slice(n.indexOf("/") + 1),
      height: this.layout.length > 2 ? 178 : 220,
      close: (it) => {
        it.close();
        it.el.remove();
        this.scopes = this.scopes.filter((x) => x !== it);
        this.layout = this.layout.filter((l) => l !== it.layout);
        this.keep();
      },
      move: (it, by) => {
        const i = this.scopes.indexOf(it), j = i + by;
        if (j < 0 || j >= this.scopes.length) return;
        for (const list of [this.scopes, this.layout]) [list[i], list[j]] = [list[j], list[i]];
        if (by < 0) this.scopes[i].el.before(it.el); else this.scopes[i].el.after(it.el);
        this.keep();
      },
    });
    this.scopes.push(s);
    if (this.foot && this.foot.parentNode === this.stack) this.foot.before(s.el); else this.stack.append(s.el);
  }

  channels(rig) {
    const due = rig.groups.some((g) => g.channels.some((c) => c.calibration_due));
    const body = [];
    for (const g of inOrder(rig)) {
      const state = h("span.sub");
      body.push(h("tr.group", null, h("th", { scope: "rowgroup", colspan: due ? 7 : 6 }, h("b", null, g.name), h("span.sub", null, ` ${period(g.period_ms)} · ${t("completeness." + g.completeness)} · ${g.bus}`), state)));
      this.rows.set("/" + g.name, { group: g.name, state });
      for (const c of g.channels) {
        const name = rig.name + "/" + c.name;
        const value = h("td.reading.num"), quality = h("td.quality"), spark = h("canvas", { width: 84, height: 22, "aria-hidden": "true" });
        const mark = h("i.at"), bounded = c.low !== null && c.high !== null && c.high > c.low;
        const hint = [c.device, c.address, c.accuracy && "± " + c.accuracy.replace(/^±\s*/, "")].filter(Boolean).join(" · ");
        const tr = h("tr", null,
          h("th", { scope: "row", title: hint }, c.name, c.derived ? h("i.tag", { title: t("live.derivedWhy", c.expression || "") }, "ƒ") : null, c.borrowed ? h("i.tag", { title: t("live.borrowed") }, "↗") : null, c.writable ? h("i.tag", { title: t("live.writable") }, "W") : null),
          value, h("td.unit", null, c.symbol || ""), h("td.spark", null, spark),
          h("td.limits", null, bounded ? h("span.range", { title: t("live.range", figure(c.low), figure(c.high), c.symbol || "") }, h("span.num", null, figure(c.low)), h("span.track", null, mark), h("span.num", null, figure(c.high))) : null),
          quality, due ? h("td.due", null, c.calibration_due ? this.due(c) : null) : null);
        this.rows.set(name, { channel: c, value, quality, spark, mark: bounded ? mark : null, tr, digits: decimals(c) });
        body.push(tr);
      }
    }
    return h("table", null, h("thead", null, h("tr", null,
      h("th", { scope: "col" }, t("live.channel")), h("th", { scope: "col", class: "right" }, t("live.reading")), h("th", { scope: "col" }, t("live.unit")),
      h("th", { scope: "col" }, t("live.minute")), h("th", { scope: "col" }, t("live.limits")), h("th", { scope: "col" }, t("live.quality")), due ? h("th", { scope: "col" }, t("live.due")) : null)),
    h("tbody", null, body));
  }

  due(c) {
    const ms = Date.parse(c.calibration_due);
    return h("span", { class: ms < Date.now() ? "bad" : "" }, Number.isFinite(ms) ? day(ms) : c.calibration_due);
  }

  paint() {
    const rig = live.rig(this.rig);
    if (!rig) return;
    this.badge.paint();
    this.armed.hidden = !rig.armed;
    const key = JSON.stringify(rig.buses.map((b) => [b.name, b.up, b.problem, b.reconnects, b.since]));
    if (key !== this.busKey || !this.buses.childElementCount) {
      this.busKey = key;
      put(this.buses, rig.buses.map((b) => h("span.bus.state." + (b.up ? "ok" : "bad"), { title: `${b.protocol} ${b.endpoint}${b.since ? " · " + t(b.up ? "bus.since" : "bus.downSince", sinceNow(b.since)) : ""}${b.problem ? " · " + b.problem : ""}` },
        h("i.dot"), h("b", null, b.name), h("span.sub", null, b.up ? b.endpoint : b.problem || t("bus.down")))));
    }
    for (const g of rig.groups) {
      const row = this.rows.get("/" + g.name);
      if (!row) continue;
      const missed = Object.values(g.missed || {}).reduce((a, b) => a + b, 0);
      row.state.className = "sub right " + (g.running === false || g.waiting ? "bad" : "");
      text(row.state, g.waiting ? t("group.waiting", g.waiting) : g.running === false ? t("group.stopped") : missed ? t("group.missed", missed) : "");
    }
  }

  tick() {
    if (this.badge) this.badge.tick();
    if (this.evaluation) this.evaluation.tick();
  }

  frame(stamp) {
    if (document.hidden) return;
    for (const s of this.scopes) s.frame(stamp);
    if (stamp - (this.last || 0) < 200) return;
    this.last = stamp;
    const sparks = stamp - (this.sparked || 0) > 500;
    if (sparks) this.sparked = stamp;
    const ink = style("--accent"), now = live.now();
    for (const [name, r] of this.rows) {
      if (!r.channel) continue;
      const ring = live.rings.get(name);
      if (!ring || !ring.last) { text(r.value, "–"); continue; }
      const { t: at, v, q } = ring.last, old = now - at > Math.max(5000, 5 * this.periodOf(name));
      text(r.value, reading(v, r.digits));
      const poor = q !== "good" || old;
      const words = old ? t("quality.old") : q === "good" ? t("quality.good") : reason(q);
      text(r.quality, words);
      r.quality.title = words;
      const cls = poor ? "poor" : "";
      if (r.tr.className !== cls) r.tr.className = cls;
      if (r.mark) {
        const c = r.channel, at01 = v === null ? 0 : (v - c.low) / (c.high - c.low);
        r.mark.hidden = v === null;
        r.mark.style.left = Math.min(100, Math.max(0, at01 * 100)).toFixed(1) + "%";
        r.mark.className = at01 < 0 || at01 > 1 ? "at bad" : "at";
      }
      if (sparks) spark(r.spark, ring, r.past, now, ink);
    }
  }

  periodOf(name) { const f = live.channel(name); return f ? f.group.period_ms || 1000 : 1000; }
}

/** inOrder puts the fast and small groups first: what a rig is about. */
function inOrder(rig) {
  return [...rig.groups].sort((a, b) => a.period_ms - b.period_ms || a.channels.length - b.channels.length);
}

/** usual arranges what a person most likely wants to see first. */
function usual(rig) {
  const wanted = new Map();
  for (const g of inOrder(rig)) {
    for (const c of g.channels) {
      if (!c.symbol || c.unit === "count") continue;
      if (!wanted.has(c.symbol)) wanted.set(c.symbol, []);
      const list = wanted.get(c.symbol);
      if (list.length < 4 && !(c.derived && list.length)) list.push(rig.name + "/" + c.name);
    }
  }
  let lists = [...wanted.values()].slice(0, 3);
  if (!lists.length) lists = [rig.groups.flatMap((g) => g.channels.map((c) => rig.name + "/" + c.name)).slice(0, 4)];
  return lists.map((channels) => ({ channels, window: 30 }));
}

function spark(canvas, ring, past, now, ink) {
  const ratio = devicePixelRatio || 1, w = 84, h = 22;
  if (canvas.width !== w * ratio) { canvas.width = w * ratio; canvas.height = h * ratio; }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, w, h);
  const first = ring.after(now - sparkSpan), oldest = ring.oldest(), xs = [], ys = [];
  if (past && past.t.length && past.t[past.t.length - 1] > now - sparkSpan) {
    for (let i = 0; i < past.t.length; i++) if (past.t[i] > now - sparkSpan && past.t[i] < oldest) { xs.push(past.t[i]); ys.push(past.v[i] ?? NaN); }
  }
  const step = Math.max(1, Math.floor((ring.n - first) / 400));
  for (let i = first; i < ring.n; i += step) { const k = ring.at(i); xs.push(ring.t[k]); ys.push(ring.max[k]); }
  let low = Infinity, high = -Infinity;
  for (const v of ys) { if (v < low) low = v; if (v > high) high = v; }
  if (!(high >= low)) return;
  const least = Math.max(Math.abs(high) * 1e-4, 1e-9);
  if (high - low < least) { const m = (high + low) / 2; low = m - least / 2; high = m + least / 2; }
  ctx.strokeStyle = ink;
  ctx.lineWidth = 1.2;
  ctx.lineJoin = "round";
  ctx.beginPath();
  let pen = false;
  for (let i = 0; i < xs.length; i++) {
    const v = ys[i];
    if (v !== v) { pen = false; continue; }
    const x = w - 1 - (now - xs[i]) / sparkSpan * (w - 2), y = h - 2 - (v - low) / (high - low) * (h - 4);
    if (pen) ctx.lineTo(x, y); else ctx.moveTo(x, y);
    pen = true;
  }
  ctx.stroke();
}

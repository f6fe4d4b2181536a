// A scope: some channels over a window that ends now, or, held, over any
// stretch of the record.
import { get, q } from "./api.js";
import { Chart, colour } from "./chart.js";
import { button, h, iconButton, put, select, text } from "./dom.js";
import { live } from "./live.js";
import { clock, decimals, eventName, reading, reason, t, windowName } from "./text.js";

const windows = [5, 10, 30, 60, 300, 900, 3600];

/** Scope is one card. layout {channels, window} is the caller's to keep. */
export class Scope {
  constructor(layout, o) {
    this.layout = layout;
    this.o = o; // changed(), close(scope), move(scope, by), all() -> channel names, height
    this.history = new Map(); // channel -> series of /data
    this.historyEnd = 0;
    this.extra = { gaps: [], events: [] };
    this.held = null; // {from, to} while paused
    this.loading = null;
    this.el = h("section.card.scope", { "aria-label": t("scope.title") });
    this.build();
  }

  build() {
    if (this.chart) this.chart.close();
    this.found = this.layout.channels.map((name) => ({ name, at: live.channel(name) }));
    const shown = this.found.filter((f) => f.at);
    this.chips = h("div.chips");
    this.values = new Map();
    shown.forEach((f, i) => {
      const value = h("b.num"), c = f.at.channel;
      this.values.set(f.name, { value, digits: decimals(c) });
      const swatch = h("i.swatch");
      swatch.style.background = colour(i);
      this.chips.append(h("span.chip", null, swatch, h("span", { title: f.name }, this.o.short(f.name)), value,
        h("span.unit", null, c.symbol || "")));
      if (!this.o.fixed) this.chips.lastChild.append(iconButton("close", t("scope.remove", f.name), () => this.drop(f.name)));
    });
    this.adder = select(t("scope.add"), [["", "+"]], "", (v) => { if (v) this.append(v); });
    this.adder.className = "quiet adder";
    this.adder.title = t("scope.add");
    this.adder.addEventListener("focus", () => this.offer());
    this.adder.addEventListener("pointerdown", () => this.offer());
    this.pauseButton = h("button.icon-button", { type: "button" });
    this.pauseButton.addEventListener("click", () => this.pause(!this.held));
    this.stamp = h("span.stamp.num");
    this.note = h("span.stamp");
    this.overlay = h("div.overlay", null, this.stamp, this.note);
    const tools = h("div.tools", null, this.o.fixed ? null : this.adder,
      select(t("scope.window"), windows.map((w) => [w, windowName(w)]), this.layout.window, (v) => {
        this.layout.window = +v; this.o.changed(); this.pause(false); this.load();
      }),
      this.pauseButton,
      this.o.move && iconButton("up", t("scope.up"), () => this.o.move(this, -1)),
      this.o.move && iconButton("down", t("scope.down"), () => this.o.move(this, 1)),
      this.o.close && iconButton("close", t("scope.close"), () => this.o.close(this)));
    this.body = h("div.plot", { tabindex: "0", role: "img", "aria-label": t("scope.aria", this.layout.channels.join(", ")) });
    put(this.el, h("div.scope-head", null, this.chips, tools), this.body);
    this.body.append(this.overlay);
    this.paintPause();
    this.chart = null;
    this.keys = shown;
    if (shown.length) {
      this.chart = new Chart(this.body, {
        series: shown.map((f, i) => ({ key: f.name, label: f.name, unit: f.at.channel.symbol, colour: i })),
        height: this.o.height || 210, sync: "live",
        zoom: (a, b) => this.look(a, b), whole: () => this.pause(false),
        cursor: (x, values, near) => this.point(x, values, near),
      });
      this.body.addEventListener("keydown", (e) => {
        if (e.key === " ") { this.pause(!this.held); e.preventDefault(); } else if (this.chart) this.chart.key(e);
      });
      this.body.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    } else {
      this.body.append(h("p.empty", null, t("scope.empty")));
    }
    this.load();
  }

  offer() {
    const have = new Set(this.layout.channels);
    put(this.adder, h("option", { value: "" }, "+"),
      this.o.all().filter((n) => !have.has(n)).map((n) => h("option", { value: n }, this.o.short(n))));
  }

  append(name) {
    if (!this.layout.channels.includes(name)) this.layout.channels.push(name);
    this.o.changed();
    this.build();
  }

  drop(name) {
    this.layout.channels = this.layout.channels.filter((n) => n !== name);
    this.o.changed();
    this.build();
  }

  paintPause() {
    const words = this.held ? t("scope.resume") : t("scope.pause");
    const fresh = iconButton(this.held ? "play" : "pause", words, () => this.pause(!this.held));
    fresh.setAttribute("aria-pressed", this.held ? "true" : "false");
    this.pauseButton.replaceWith(fresh);
    this.pauseButton = fresh;
    this.el.classList.toggle("held", Boolean(this.held));
  }

  /** pause holds the picture; in it a stretch can be dragged to look closer. */
  pause(on) {
    if (Boolean(this.held) === on) return;
    const now = live.now();
    this.held = on ? { from: now - this.layout.window * 1000, to: now } : null;
    this.paintPause();
    text(this.note, on ? t("scope.held") : "");
    this.load();
  }

  look(from, to) {
    if (to - from < 2) return;
    this.held = { from, to };
    this.paintPause();
    text(this.note, t("scope.held"));
    this.load();
  }

  wheel(e) {
    if (!e.ctrlKey && !this.held) return; // a page that is scrolled stays as it is
    e.preventDefault();
    const r = this.chart.plot.over.getBoundingClientRect();
    const [a, b] = this.chart.range, at = a + (b - a) * Math.min(1, Math.max(0, (e.clientX - r.left) / r.width));
    const f = e.deltaY > 0 ? 1.25 : 0.8;
    this.look(at - (at - a) * f, Math.min(live.now(), at + (b - at) * f));
  }

  /** load reads what is before the stream, or the stretch that is held. */
  async load() {
    if (!this.keys.length) return;
    if (this.loading) this.loading.abort();
    const stop = this.loading = new AbortController();
    const now = live.now();
    const [from, to] = this.held ? [this.held.from, this.held.to] : [now - this.layout.window * 1000, now];
    const rigs = new Map();
    for (const f of this.keys) {
      if (!rigs.has(f.at.rig.name)) rigs.set(f.at.rig.name, []);
      rigs.get(f.at.rig.name).push(f.at.channel.name);
    }
    const history = new Map(), gaps = [], events = [];
    try {
      for (const [rig, channels] of rigs) {
        const d = await get("data" + q({ rig, channels: channels.join(","), from: from.toFixed(3), to: to.toFixed(3), points: Math.min(2000, Math.round(this.body.clientWidth || 800)) }), { signal: stop.signal });
        for (const [name, series] of Object.entries(d.series)) history.set(rig + "/" + name, series);
        for (const g of d.gaps) gaps.push({ ...g, rig });
        events.push(...d.events);
      }
    } catch (err) {
      if (err.name === "AbortError") return;
      if (err.code !== "PD2201") text(this.note, err.message);
      return;
    }
    if (stop !== this.loading) return;
    this.loading = null;
    this.history = history;
    this.historyEnd = to;
    this.extra = { gaps, events };
    this.dirty = true;
  }

  /** frame draws; it is asked for at each picture of the screen. */
  frame(stamp) {
    if (!this.chart) return;
    const w = this.layout.window * 1000;
    const pause = Math.min(1000, Math.max(30, w / (this.body.clientWidth || 800)));
    if (!this.dirty && (this.held || stamp - (this.drawn || 0) < pause)) return;
    this.drawn = stamp;
    this.dirty = false;
    const now = live.now();
    const [from, to] = this.held ? [this.held.from, this.held.to] : [now - w, now];
    const groups = new Set(this.keys.map((f) => f.at.rig.name + "/" + f.at.group.name));
    const gaps = this.gaps(from, to, groups);
    let short = false;
    this.keys.forEach((f, i) => {
      const c = this.chart.columns[i], of = gaps.filter((g) => g.rig === f.at.rig.name && g.group === f.at.group.name);
      if (this.points(c, f.name, from, to, of)) short = true;
      if (!this.pointing && !this.held) {
        const ring = live.rings.get(f.name), v = this.values.get(f.name);
        text(v.value, ring && ring.last ? reading(ring.last.v, v.digits) : "–");
      }
    });
    if (short && !this.loading && !this.held && stamp - (this.asked || 0) > 5000) { this.asked = stamp; this.load(); }
    const events = this.held ? this.extra.events : [...this.extra.events, ...live.events.filter((e) => e.t > this.historyEnd)];
    this.chart.set(from, to, gaps, events.filter((e) => e.t >= from && e.t <= to));
  }

  gaps(from, to, groups) {
    const mine = (g) => g.to >= from && g.from <= to && groups.has(g.rig + "/" + g.group);
    const list = this.extra.gaps.filter(mine);
    if (!this.held) for (const g of live.gaps) if (mine(g) && g.to > this.historyEnd) list.push(g);
    return list.sort((a, b) => a.from - b.from);
  }

  /** points fills a column from the history and the stream; true: older ones have left the ring. */
  points(c, name, from, to, gaps) {
    c.clear();
    let g = 0;
    const at = (x, min, max) => {
      while (g < gaps.length && gaps[g].from < x) {
        if (c.n && gaps[g].to > c.x[c.n - 1]) c.point(Math.max(gaps[g].from, c.x[c.n - 1] + 0.001), null);
        g++;
      }
      c.pair(x, min, max);
    };
    const hist = this.history.get(name);
    let end = 0;
    if (hist) {
      const n = hist.t.length;
      for (let i = 0; i < n; i++) {
        if (i + 1 < n && hist.t[i + 1] < from) continue;
        if (hist.raw) at(hist.t[i], hist.v[i] ?? NaN, hist.v[i] ?? NaN); else at(hist.t[i], hist.min[i] ?? NaN, hist.max[i] ?? NaN);
      }
      if (n) end = hist.t[n - 1];
    }
    if (this.held) return false;
    const ring = live.rings.get(name);
    if (!ring || !ring.n) return false;
    let i = Math.max(0, ring.after(Math.max(end, from)) - (end ? 0 : 1));
    for (; i < ring.n; i++) {
      const k = ring.at(i);
      if (ring.t[k] > to + 1000) break;
      at(ring.t[k], ring.min[k], ring.max[k]);
    }
    return ring.n > 1000 && ring.oldest() > Math.max(end, from) - 1 && ring.oldest() > from && end < ring.oldest();
  }

  point(x, values, near) {
    this.pointing = x !== null;
    if (x === null) { text(this.stamp, ""); text(this.note, this.held ? t("scope.held") : ""); this.dirty = true; return; }
    text(this.stamp, clock(x, 3));
    this.keys.forEach((f, i) => { const v = this.values.get(f.name); text(v.value, reading(values[i], v.digits)); });
    text(this.note, near.map((n) => n.reason ? t("gap.short", reason(n.reason)) : (eventName(n.code) || n.code) + " " + (n.detail || "")).join(" · "));
  }

  close() {
    if (this.loading) this.loading.abort();
    if (this.chart) this.chart.close();
    this.chart = null;
  }
}

/** addScopeButton is used where a view lets a person add scopes. */
export function addScopeButton(onclick) { return button("+ " + t("scope.new"), onclick, { class: "quiet" }); }

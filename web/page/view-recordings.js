import { get, maybe, offers, q } from "./api.js";
import { Chart, colour, columnOf } from "./chart.js";
import { button, h, iconButton, put, select, text } from "./dom.js";
import { Evaluation } from "./evaluation.js";
import { live } from "./live.js";
import { RecordBadge } from "./record.js";
import { clock, count, decimals, eventName, figure, reading, reason, span, t, when } from "./text.js";

const path = (id) => "recordings/" + encodeURIComponent(id);

/** RecordingsView lists recordings, shows one, or lays several over each other. */
export class RecordingsView {
  constructor(host, app, [id], query) {
    this.host = host;
    this.app = app;
    this.picked = new Set();
    if (id === "compare") this.inner = new Compare(host, app, (query.get("ids") || "").split(",").filter(Boolean));
    else if (id) this.inner = new Detail(host, app, id);
    else this.list();
    this.onRecord = (e) => { if (!this.inner && e.detail.ended) this.load(); };
    live.addEventListener("record", this.onRecord);
  }

  close() {
    this.closed = true;
    live.removeEventListener("record", this.onRecord);
    if (this.inner) this.inner.close();
  }

  tick() { if (this.inner && this.inner.tick) this.inner.tick(); }

  frame(stamp) { if (this.inner && this.inner.frame) this.inner.frame(stamp); }

  list() {
    this.words = h("input", { type: "search", placeholder: t("rec.filter"), "aria-label": t("rec.filter"), oninput: () => this.paint() });
    this.rig = "";
    this.rigs = h("span");
    this.compare = button(t("rec.compare"), () => { location.hash = "#/recordings/compare?ids=" + [...this.picked].join(","); }, { disabled: true });
    this.body = h("tbody");
    this.more = button(t("more"), () => this.load(true), { hidden: true });
    this.empty = h("p.empty", { hidden: true });
    put(this.host, h("div.bar", null, h("h1", null, t("nav.recordings")), h("span.fill"), this.rigs, this.words, this.compare),
      h("section.card.list", null, h("table", null, h("thead", null, h("tr", null,
        h("th", { scope: "col" }), ...["id", "rig", "start"].map((k) => h("th", { scope: "col" }, t("rec." + k))),
        ...["length", "planned", "stored", "missing"].map((k) => h("th.right", { scope: "col" }, t("rec." + k))),
        ...["delivered", "owner", "note"].map((k) => h("th", { scope: "col" }, t("rec." + k))))), this.body), this.empty),
      h("div.bar", null, this.more));
    this.all = [];
    this.load();
  }

  async load(on) {
    try {
      const d = await maybe("recordings" + q({ rig: this.rig, limit: 100, before: on ? this.next : "" }));
      if (this.closed) return;
      if (!d) { put(this.host, h("p.empty", null, t("rec.notOffered"))); return; }
      this.all = on ? [...this.all, ...d.recordings] : d.recordings;
      this.next = d.next;
      this.more.hidden = !d.next;
      const rigs = [...new Set([...live.rigs.map((r) => r.name), ...this.all.map((r) => r.rig)])].sort();
      if (rigs.length > 1) put(this.rigs, select(t("rec.rig"), [["", t("rec.allRigs")], ...rigs.map((r) => [r, r])], this.rig, (v) => { this.rig = v; this.load(); }));
      this.paint();
    } catch (err) { this.app.notify(err); }
  }

  paint() {
    const words = this.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = this.all.filter((r) => {
      const hay = [r.id, r.note, r.owner, r.rig, ...Object.values(r.detail || {})].join(" ").toLowerCase();
      return words.every((w) => hay.includes(w));
    });
    this.empty.hidden = shown.length > 0;
    text(this.empty, this.all.length ? t("rec.noMatch") : t("rec.none"));
    put(this.body, shown.map((r) => {
      const end = r.stop || r.end;
      return h("tr", null,
        h("td", null, h("input", { type: "checkbox", "aria-label": t("rec.pick", r.id), checked: this.picked.has(r.id), onchange: (e) => {
          if (e.target.checked) this.picked.add(r.id); else this.picked.delete(r.id);
          this.compare.disabled = this.picked.size < 2;
        } })),
        h("td", null, h("a", { href: "#/recordings/" + encodeURIComponent(r.id) }, r.id), " ", r.simulated ? h("span.mark", null, t("app.simulated")) : null),
        h("td", null, r.rig), h("td", { class: "num-left" }, when(r.start)),
        h("td.r", null, end ? span(Date.parse(end) - Date.parse(r.start)) : h("span.state.bad", null, h("i.dot"), t("rec.open"))),
        h("td.r", null, count(r.planned)), h("td.r", null, count(r.stored)),
        h("td.r", { class: "r " + (r.unexplained && end ? "bad" : r.missing + r.unexplained ? "warn" : "") }, count(r.missing + r.unexplained)),
        h("td", null, delivered(r.delivered)), h("td", null, r.owner || ""), h("td.wrap", null, r.note || ""));
    }));
  }
}

function delivered(d) { return d === "yes" ? t("yes") : d === "no" ? t("no") : d === "part" ? h("span.warn", null, "±") : "–"; }

/** Plot is a chart of one recording that reads as much as it can show. */
class Plot {
  constructor(id, channels, o) {
    this.id = id;
    this.channels = channels; // {name, symbol, group, ...}
    this.o = o;
    this.values = new Map();
    this.legend = h("div.chips");
    channels.forEach((c, i) => {
      const value = h("b.num"), swatch = h("i.swatch");
      swatch.style.background = colour(i);
      this.values.set(c.name, value);
      this.legend.append(h("span.chip", null, swatch, c.name, value, h("span.unit", null, c.symbol || "")));
    });
    this.stamp = h("span.stamp.num");
    this.kind = h("span.stamp");
    this.box = h("div.plot", { tabindex: "0", role: "img", title: t("rec.dragHint"), "aria-label": t("scope.aria", channels.map((c) => c.name).join(", ")) });
    this.stack = [];
    this.el = h("div", null, h("div.scope-head", null, this.legend, h("div.tools", null, this.stamp, this.kind,
      iconButton("back", t("rec.back"), () => this.back()), iconButton("left", t("rec.earlier"), () => this.shift(-0.5)), iconButton("right", t("rec.later"), () => this.shift(0.5)),
      iconButton("zoomin", t("rec.zoomIn"), () => this.scale(0.4)), iconButton("zoomout", t("rec.zoomOut"), () => this.scale(2.5)), iconButton("whole", t("rec.whole"), () => this.look(...this.o.span())))), this.box);
  }

  start() {
    this.chart = new Chart(this.box, {
      series: this.channels.map((c, i) => ({ key: c.name, label: c.name, unit: c.symbol, colour: i })), height: 330,
      zoom: (a, b) => this.look(a, b), whole: () => this.look(...this.o.span()), cursor: (x, v, near) => this.point(x, v, near),
    });
    this.box.addEventListener("keydown", (e) => {
      if (e.key === "+" || e.key === "=") this.scale(0.4); else if (e.key === "-") this.scale(2.5); else if (e.key === "0") this.look(...this.o.span()); else this.chart.key(e);
    });
    this.box.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && !this.box.matches(":focus-within, :focus")) return;
      e.preventDefault();
      const r = this.chart.plot.over.getBoundingClientRect();
      this.scale(e.deltaY > 0 ? 1.5 : 0.66, Math.min(1, Math.max(0, (e.clientX - r.left) / r.width)));
    }, { passive: false });
    this.look(...(this.o.range || this.o.span()));
  }

  back() { if (this.stack.length) { const [a, b] = this.stack.pop(); this.now = null; this.look(a, b); } }
  shift(f) { const [a, b] = this.now; this.look(a + (b - a) * f, b + (b - a) * f); }
  scale(f, at = 0.5) { const [a, b] = this.now, x = a + (b - a) * at; this.look(x - (x - a) * f, x + (b - x) * f); }

  async look(from, to, quiet) {
    const [low, high] = this.o.span();
    from = Math.max(low, from); to = Math.min(high, to);
    if (to - from < 1) return;
    if (this.now && !quiet) { this.stack.push(this.now); if (this.stack.length > 50) this.stack.shift(); }
    this.now = [from, to];
    if (this.stop) this.stop.abort();
    const stop = this.stop = new AbortController();
    try {
      const d = await get(path(this.id) + "/data" + q({ channels: this.channels.map((c) => c.name).join(","), from: from.toFixed(3), to: to.toFixed(3), points: Math.max(100, Math.min(2000, Math.round(this.box.clientWidth))) }), { signal: stop.signal });
      if (!this.chart || stop !== this.stop) return;
      let n = 0, raw = true;
      this.channels.forEach((c, i) => {
        const series = d.series[c.name];
        if (!series) { this.chart.columns[i].clear(); return; }
        columnOf(this.chart.columns[i], series, d.gaps.filter((g) => g.group === series.group));
        if (!series.raw) { raw = false; if (series.n && series.n.length) n = Math.max(n, series.n.reduce((a, b) => a + b, 0) / series.n.length); }
      });
      this.raw = raw;
      const groups = new Set(this.channels.map((c) => c.group));
      this.chart.set(from, to, d.gaps.filter((g) => groups.has(g.group)), d.events);
      this.describe();
      if (this.o.shown) this.o.shown(d);
      this.n = n;
      this.describe();
    } catch (err) { this.o.app.notify(err); }
  }

  describe() { text(this.kind, this.raw ? t("rec.raw") : t("rec.overview", figure(this.n || 1, 2))); }

  point(x, values, near) {
    if (x === null) { text(this.stamp, ""); this.describe(); for (const v of this.values.values()) text(v, ""); return; }
    text(this.stamp, clock(x, 3));
    this.channels.forEach((c, i) => text(this.values.get(c.name), reading(values[i], decimals(c))));
    if (near.length) text(this.kind, near.map((n) => n.reason ? t("gap.short", reason(n.reason)) : (eventName(n.code) || n.code) + " " + (n.detail || "")).join(" · ")); else this.describe();
  }

  close() {
    if (this.stop) this.stop.abort();
    if (this.chart) this.chart.close();
    this.chart = null;
  }
}

/** Detail is one recording. */
class Detail {
  constructor(host, app, id) {
    this.host = host;
    this.app = app;
    this.id = id;
    this.load();
    this.onRecord = (e) => { if (e.detail.recording === id && e.detail.ended) this.reload(); };
    live.addEventListener("record", this.onRecord);
  }

  close() {
    this.closed = true;
    live.removeEventListener("record", this.onRecord);
    if (this.plot) this.plot.close();
  }

  async reload() {
    if (this.plot) this.plot.close();
    await this.load();
  }

  async load() {
    try { this.doc = await get(path(this.id)); } catch (err) { this.app.notify(err); return; }
    if (this.closed) return;
    const d = this.doc, end = d.stop || d.end;
    this.open = !end;
    this.channels = d.content.flatMap((g) => g.channels.map((c) => ({ ...c, group: g.name })));
    const fact = (k, v) => v ? h("div", null, h("dt", null, k), h("dd", null, v)) : null;
    this.plotHost = h("div");
    this.ledger = h("section.card");
    this.exports = h("section.card", { hidden: true });
    this.evaluation = h("section.card", { hidden: true });
    this.eventList = h("section.card");
    this.badge = this.open ? new RecordBadge(this.app, d.rig) : null;
    const usual = this.channels.filter((c) => c.symbol && c.unit !== "count" && !c.derived);
    const first = d.content.slice().sort((a, b) => a.period_ms - b.period_ms || a.channels.length - b.channels.length)[0];
    let chosen = usual.filter((c) => first && c.group === first.name).slice(0, 4);
    if (!chosen.length) chosen = (usual.length ? usual : this.channels).slice(0, 3);
    this.chosen = new Set(chosen.map((c) => c.name));
    put(this.host,
      h("div.rig-head", null, h("a", { href: "#/recordings" }, "← " + t("rec.all")), h("h1", null, d.id), d.simulated ? h("span.mark", { title: t("app.simulatedWhy") }, t("app.simulated")) : null),
      this.badge ? this.badge.el : null,
      h("section.card.pad", null, h("dl.facts.wide", null, fact(t("rec.rig"), d.rig), fact(t("rec.start"), when(d.start, 3)), fact(t("rec.stop"), end ? when(end, 3) : t("rec.open")),
        fact(t("rec.length"), span((end ? Date.parse(end) : live.now()) - Date.parse(d.start))), fact(t("rec.groups"), d.groups.join(", ") || t("rec.allGroups")), fact(t("rec.owner"), d.owner), fact(t("rec.note"), d.note),
        ...Object.entries(d.detail || {}).map(([k, v]) => fact(k, v)))),
      h("section.card", { "aria-label": t("rec.curves") }, h("div.picks", null, this.picks()), this.plotHost),
      h("div.two", null, this.ledger, h("div.stack", null, this.exports, this.eventList)), this.evaluation);
    for (const p of this.host.querySelectorAll(".picks")) p.style.paddingTop = "10px";
    this.draw();
    this.account();
    this.exporting();
    this.evaluating();
  }

  span() { const d = this.doc, end = d.stop || d.end; return [Date.parse(d.start), end ? Date.parse(end) : live.now()]; }

  picks() {
    return this.channels.map((c) => h("label.pick", { title: [c.device, c.address].filter(Boolean).join(" · ") }, h("input", { type: "checkbox", checked: this.chosen.has(c.name), onchange: (e) => {
      if (e.target.checked) this.chosen.add(c.name); else this.chosen.delete(c.name);
      this.draw(this.plot && this.plot.now);
    } }), c.name));
  }

  draw(range) {
    if (this.plot) this.plot.close();
    this.plot = null;
    const list = this.channels.filter((c) => this.chosen.has(c.name)).slice(0, 16);
    if (!list.length) { put(this.plotHost, h("p.empty", null, t("scope.empty"))); return; }
    this.plot = new Plot(this.id, list, { app: this.app, span: () => this.span(), range, shown: (d) => this.happened(d.events) });
    put(this.plotHost, this.plot.el);
    this.plot.start();
  }

  happened(events) {
    put(this.eventList, h("h2", null, t("rec.events")), events.length
      ? h("div.list.log", null, h("table", null, h("tbody", null, events.slice(-200).map((e) => h("tr", null, h("td", null, when(e.time, 3)), h("td", null, eventName(e.code), " ", h("code.sub", null, e.code)), h("td.wrap", null, e.detail))))))
      : h("p.empty", null, t("rec.noEvents")));
  }

  tick() {
    if (this.badge) this.badge.paint();
    if (!this.open || !this.plot) return;
    this.beats = (this.beats || 0) + 1;
    if (this.beats % 2 === 0 && !this.plot.stack.length) this.plot.look(...this.span(), true);
    if (this.beats % 5 === 0) this.account();
  }

  async account() {
    let d;
    try { d = await maybe(path(this.id) + "/audit"); } catch (err) { this.app.notify(err); return; }
    if (this.closed) return;
    if (!d) { this.ledger.hidden = true; return; }
    const short = (g) => g.startsWith(this.doc.rig + "/") ? g.slice(this.doc.rig.length + 1) : g;
    const rows = d.accounts.map((a) => {
      const poor = a.channels.map((c) => [c, { ...c.uncertain, ...c.bad }]).filter(([, all]) => Object.keys(all).length);
      return h("tr", null, h("th", { scope: "row" }, short(a.group)), h("td.r", null, count(a.planned)), h("td.r", null, count(a.stored)),
        h("td.wrap", null, Object.keys(a.gaps || {}).length ? Object.entries(a.gaps).map(([k, n]) => h("div", null, h("b", null, count(n)), " ", reason(k))) : "0"),
        h("td.r", { class: "r " + (a.unexplained ? "bad" : "") }, count(a.unexplained)),
        h("td.wrap", null, poor.length ? h("details", null, h("summary", null, count(poor.reduce((n, [, all]) => n + Object.values(all).reduce((x, y) => x + y, 0), 0))),
          poor.map(([c, all]) => h("div", null, h("b", null, c.channel), ": ", Object.entries(all).map(([k, n]) => `${count(n)} ${reason(k)}`).join(", ")))) : t("rec.allGood")));
    });
    const opened = this.ledger.querySelector("details[open]");
    if (opened) return; // somebody reads it
    put(this.ledger, h("h2", null, t("rec.ledger")),
      h("div.pad", null, h("span.balance.state." + (d.balanced ? "ok" : "bad"), null, h("i.dot"), d.balanced ? t("rec.balanced") : t("rec.unbalanced"))),
      h("div.list", null, h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, t("rec.group")), ...["planned", "stored"].map((k) => h("th.right", { scope: "col" }, t("rec." + k))), h("th", { scope: "col" }, t("rec.gaps")), h("th.right", { scope: "col" }, t("rec.unexplained")), h("th", { scope: "col" }, t("rec.badReadings")))), h("tbody", null, rows)),
      d.sinks.length ? h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, t("rec.sink")), ...["stored", "delivered", "waiting", "refused"].map((k) => h("th.right", { scope: "col" }, t("rec." + k))))),
        h("tbody", null, d.sinks.map((s) => h("tr", null, h("th", { scope: "row" }, s.name), ...["stored", "delivered", "waiting", "refused"].map((k) => h("td.r", null, count(s[k]))))))) : null));
  }

  async exporting() {
    const base = path(this.id) + "/export?format=";
    if (!await offers(base + "csv") || this.closed) return;
    const links = [];
    for (const [format, words, extra] of [["csv", "CSV", ""], ["csv", t("rec.exportCSV"), "&bom=1"], ["parquet", "Parquet", ""], ["xlsx", "Excel", ""], ["jsonl", "JSON Lines", ""]]) {
      if (format !== "csv" && !await offers(base + format)) continue;
      links.push(h("a", { href: "/api/v1/" + base + format + extra, download: "" }, words));
    }
    if (this.closed) return;
    this.exports.hidden = false;
    put(this.exports, h("h2", null, t("rec.export")), h("div.pad.links", null, links));
  }

  async evaluating() {
    let d;
    try { d = await maybe("methods"); } catch { return; }
    if (!d || !d.methods.length || this.closed) return;
    this.evaluation.hidden = false;
    new Evaluation(this.evaluation, this.app, this.id, d.methods, this.channels);
  }
}

/** Compare lays several recordings over each other, each from its start. */
class Compare {
  constructor(host, app, ids) {
    this.host = host;
    this.app = app;
    this.ids = ids.slice(0, 8);
    this.load();
  }

  close() { this.closed = true; if (this.chart) this.chart.close(); }

  async load() {
    try { this.docs = await Promise.all(this.ids.map((id) => get(path(id)))); } catch (err) { this.app.notify(err); return; }
    if (this.closed) return;
    const lists = this.docs.map((d) => d.content.flatMap((g) => g.channels));
    const common = lists[0].filter((c) => lists.every((l) => l.some((x) => x.name === c.name)));
    const first = common.find((c) => c.symbol && c.unit !== "count") || common[0];
    this.box = h("div.plot", { tabindex: "0", role: "img", "aria-label": t("rec.compareTitle") });
    this.legend = h("div.chips");
    this.stamp = h("span.stamp.num");
    put(this.host, h("div.rig-head", null, h("a", { href: "#/recordings" }, "← " + t("rec.all")), h("h1", null, t("rec.compareTitle")), h("span.fill"),
      first ? select(t("rec.channel"), common.map((c) => [c.name, c.name]), first.name, (v) => this.draw(common.find((c) => c.name === v))) : null),
    h("section.card", null, h("div.scope-head", null, this.legend, h("div.tools", null, this.stamp)), this.box));
    if (first) this.draw(first); else put(this.box, h("p.empty", null, t("setup.noChannels")));
  }

  async draw(c) {
    const spans = this.docs.map((d) => [Date.parse(d.start), Date.parse(d.stop || d.end) || live.now()]);
    const length = Math.max(...spans.map(([a, b]) => b - a));
    try {
      const all = await Promise.all(this.docs.map((d, i) => get(path(d.id) + "/data" + q({ channels: c.name, from: spans[i][0], to: spans[i][1], points: 1200 }))));
      if (this.closed) return;
      if (this.chart) this.chart.close();
      const values = this.docs.map(() => h("b.num"));
      put(this.legend, this.docs.map((d, i) => { const s = h("i.swatch"); s.style.background = colour(i); return h("span.chip", null, s, h("a", { href: "#/recordings/" + encodeURIComponent(d.id) }, d.id), d.simulated ? h("span.mark", null, t("app.simulated")) : null, values[i], h("span.unit", null, c.symbol || "")); }));
      this.chart = new Chart(this.box, {
        series: this.docs.map((d, i) => ({ key: d.id, label: d.id, unit: c.symbol, colour: i })), height: 420, relative: true,
        zoom: (a, b) => this.chart.set(a, b, [], []), whole: () => this.chart.set(0, length, [], []),
        cursor: (x, v) => { text(this.stamp, x === null ? "" : figure(x / 1000, 6) + " s"); values.forEach((e, i) => text(e, x === null ? "" : reading(v[i], decimals(c)))); },
      });
      all.forEach((d, i) => {
        const s = d.series[c.name];
        columnOf(this.chart.columns[i], { ...s, t: s.t.map((x) => x - spans[i][0]) }, d.gaps.map((g) => ({ ...g, from: g.from - spans[i][0], to: g.to - spans[i][0] })));
      });
      this.chart.set(0, length, [], []);
    } catch (err) { this.app.notify(err); }
  }
}

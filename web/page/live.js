// What the page knows of the service right now.
import { language, setZone } from "./text.js";
import { Memory, Stream } from "./stream.js";

const ringSize = 6000;

/** Ring keeps the newest readings of one channel; it never grows. */
export class Ring {
  constructor() {
    this.t = new Float64Array(ringSize);
    this.min = new Float64Array(ringSize);
    this.max = new Float64Array(ringSize);
    this.head = 0; // where the next one goes
    this.n = 0;
    this.last = null;
  }

  push(t, min, max) {
    if (this.n && !(t > this.newest())) return; // told again after a reconnect
    const i = this.head;
    this.t[i] = t; this.min[i] = min; this.max[i] = max;
    this.head = (i + 1) % ringSize;
    if (this.n < ringSize) this.n++;
  }

  at(i) { return (this.head - this.n + i + ringSize) % ringSize; }
  time(i) { return this.t[this.at(i)]; }
  newest() { return this.n ? this.t[(this.head - 1 + ringSize) % ringSize] : 0; }
  oldest() { return this.n ? this.time(0) : Infinity; }

  /** after gives the index of the first reading later than t. */
  after(t) {
    let a = 0, b = this.n;
    while (a < b) { const m = (a + b) >> 1; if (this.time(m) > t) b = m; else a = m + 1; }
    return a;
  }
}

const mostGaps = 500, mostEvents = 300;

class Live extends EventTarget {
  constructor() {
    super();
    this.rigs = [];
    this.records = new Map(); // rig -> record document
    this.problems = [];
    this.events = [];
    this.gaps = [];
    this.rings = new Map();
    this.up = false;
    this.ready = false;
    this.offset = 0; // service time minus ours
    this.version = "";
    this.wants = new Map(); // who -> channels
    this.restarts = 0;
  }

  start() {
    const lang = language();
    try {
      const worker = new SharedWorker("/stream-worker.js?lang=" + lang, { type: "module", name: "pneudaq" });
      const port = worker.port;
      this.tell = (channels) => port.postMessage({ kind: "want", channels });
      this.end = () => port.postMessage({ kind: "bye" });
      port.addEventListener("message", (e) => this.take(e.data.kind, e.data.data));
      worker.addEventListener("error", () => { if (!this.ready) this.alone(lang); });
      port.start();
      this.ping = setInterval(() => port.postMessage({ kind: "ping" }), 20000);
    } catch {
      this.alone(lang);
      return;
    }
    addEventListener("pagehide", () => this.end());
    addEventListener("pageshow", (e) => { if (e.persisted) this.send(true); });
    this.send(true);
  }

  /** alone opens a stream of this page's own, where there are no shared workers. */
  alone(lang) {
    clearInterval(this.ping);
    const memory = new Memory();
    const stream = new Stream(lang, (kind, data) => { memory.note(kind, data); this.take(kind, data); });
    this.tell = (channels) => stream.want(channels);
    this.end = () => stream.close();
    addEventListener("pagehide", () => this.end());
    this.send(true);
  }

  /** want says which channels somebody looks at; none: no longer. */
  want(who, channels) {
    if (channels && channels.length) this.wants.set(who, channels); else this.wants.delete(who);
    this.send(false);
  }

  send(always) {
    if (!this.tell) return;
    const all = new Set();
    for (const list of this.wants.values()) for (const c of list) if (!this.ready || this.channel(c)) all.add(c);
    const list = [...all];
    const key = list.slice().sort().join();
    if (!always && key === this.sent) return;
    this.sent = key;
    for (const name of this.rings.keys()) if (!all.has(name)) this.rings.delete(name);
    for (const name of list) if (!this.rings.has(name)) this.rings.set(name, new Ring());
    this.tell(list);
  }

  /** now is the time of the service, in ms. */
  now() { return Date.now() + this.offset; }

  /** channel finds {rig, group, channel} of "rig/channel". */
  channel(name) {
    const i = name.indexOf("/");
    const rig = this.rig(name.slice(0, i)), want = name.slice(i + 1);
    if (!rig) return null;
    for (const group of rig.groups) for (const channel of group.channels) if (channel.name === want) return { rig, group, channel };
    return null;
  }

  rig(name) { return this.rigs.find((r) => r.name === name); }

  take(kind, d) {
    switch (kind) {
      case "open": this.up = true; break;
      case "down": this.up = false; break;
      case "hello":
        this.up = this.ready = true;
        if (!d.stale) this.offset = d.t - Date.now();
        this.rigs = d.rigs;
        this.version = d.version;
        this.records.clear();
        setZone(d.zone);
        this.restarts++;
        this.send(false);
        break;
      case "values": this.values(d); break;
      case "rigs": this.merge(d); break;
      case "record":
        this.records.set(d.rig, d);
        break;
      case "event":
        this.events.push(d);
        if (this.events.length > mostEvents) this.events.splice(0, this.events.length - mostEvents);
        break;
      case "problem": this.problems = d.problems || []; break;
    }
    this.dispatchEvent(new CustomEvent(kind, { detail: d }));
    if (kind !== "values") this.dispatchEvent(new CustomEvent("state", { detail: kind }));
  }

  values(d) {
    for (const [name, x] of Object.entries(d.series)) {
      const ring = this.rings.get(name);
      if (!ring) continue;
      for (let i = 0; i < x.t.length; i++) ring.push(x.t[i], x.min[i] ?? NaN, x.max[i] ?? NaN);
      ring.last = x.last;
    }
    if (d.gaps) {
      for (const g of d.gaps) {
        const last = this.gaps.findLast((o) => o.rig === g.rig && o.group === g.group);
        if (last && last.reason === g.reason && g.from <= last.to + 1) last.to = Math.max(last.to, g.to);
        else this.gaps.push(g);
      }
      if (this.gaps.length > mostGaps) this.gaps.splice(0, this.gaps.length - mostGaps);
    }
  }

  merge(d) {
    for (const r of d.rigs) {
      const rig = this.rig(r.name);
      if (!rig) continue;
      rig.armed = r.armed;
      rig.recording = r.recording;
      for (const list of ["buses", "groups"]) {
        for (const x of r[list] || []) {
          const old = rig[list].find((o) => o.name === x.name);
          if (!old) continue;
          delete old.problem; delete old.waiting;
          Object.assign(old, x);
        }
      }
    }
  }
}

/** live is the one of this page. */
export const live = new Live();

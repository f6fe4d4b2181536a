// One event stream of the service, for one page or, in a shared worker, for
// all pages of a browser.

const kinds = ["hello", "values", "rigs", "record", "event", "problem"];

/** Stream keeps one EventSource open for the channels that anybody wants. */
export class Stream {
  /** emit(kind, data) gets what comes; kind is also "open" and "down". */
  constructor(lang, emit) {
    this.lang = lang;
    this.emit = emit;
    this.channels = [];
    this.last = "";
    this.wait = 500;
    this.timer = 0;
    this.source = null;
    this.bare = false;
  }

  /** want sets the channels, "rig/channel". */
  want(channels) {
    const sorted = [...new Set(channels)].sort().slice(0, 128);
    if (this.source && sorted.join() === this.channels.join() && !this.bare) return;
    this.channels = sorted;
    this.bare = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), this.source ? 60 : 0);
  }

  open() {
    this.close();
    const p = new URLSearchParams({ rate: "20", points: "100", lang: this.lang });
    // A channel that is gone would refuse the whole stream; then the state alone says what there is now.
    if (this.channels.length && !this.bare) p.set("channels", this.channels.join(","));
    if (this.last) p.set("last", this.last);
    const source = this.source = new EventSource("/api/v1/live?" + p);
    for (const kind of kinds) {
      source.addEventListener(kind, (e) => {
        if (e.lastEventId) this.last = e.lastEventId;
        this.emit(kind, JSON.parse(e.data));
      });
    }
    source.addEventListener("open", () => { this.wait = 500; this.emit("open", null); });
    source.addEventListener("error", () => {
      if (source !== this.source) return;
      this.emit("down", null);
      if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
      this.bare = this.channels.length > 0 && !this.bare;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(10000, this.wait * 2);
    });
  }

  close() {
    clearTimeout(this.timer);
    if (this.source) this.source.close();
    this.source = null;
  }
}

/** Memory keeps what a page that comes later must know. */
export class Memory {
  constructor() {
    this.hello = null;
    this.rigs = null;
    this.records = new Map();
    this.problem = null;
    this.up = false;
  }

  note(kind, data) {
    if (kind === "open") this.up = true;
    else if (kind === "down") this.up = false;
    else if (kind === "hello") { this.hello = data; this.rigs = null; this.records.clear(); }
    else if (kind === "rigs") this.rigs = data;
    else if (kind === "record") this.records.set(data.rig, data);
    else if (kind === "problem") this.problem = data;
  }

  /** replay tells it to somebody. */
  replay(tell) {
    if (this.up) tell("open", null);
    if (this.hello) tell("hello", { ...this.hello, stale: true });
    if (this.rigs) tell("rigs", this.rigs);
    for (const r of this.records.values()) tell("record", r);
    if (this.problem) tell("problem", this.problem);
  }
}

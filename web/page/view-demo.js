import { maybe, post } from "./api.js";
import { button, h, put } from "./dom.js";
import { live } from "./live.js";
import { RecordBadge } from "./record.js";
import { Scope } from "./scope.js";
import { clock, reason, span, t, title } from "./text.js";

const kinds = { unplug: "bus", restart: "bus", mute: "unit", freeze: "sensor", broker: "broker", database: "broker", stop: "broker" };
const once = new Set(["restart"]);

/** DemoView breaks the twin and shows what comes of it. */
export class DemoView {
  constructor(host, app) {
    this.host = host;
    this.app = app;
    this.buttons = h("div.faults");
    this.badge = h("div");
    this.scope = h("div");
    this.gaps = h("div");
    this.problems = h("section.card");
    put(host, h("p.about", null, t("demo.intro")), this.badge, h("div.two", null,
      h("section.card", null, h("div.bar.pad", null, h("h2", null, t("nav.demo")), h("span.fill"), button(t("demo.mend"), () => this.mend())), this.buttons),
      h("div.stack", null, this.scope, this.problems, h("section.card", null, h("h2", null, t("demo.gaps")), this.gaps))));
    this.onState = () => this.state();
    live.addEventListener("state", this.onState);
    this.load();
    this.state();
  }

  close() {
    this.closed = true;
    live.removeEventListener("state", this.onState);
    live.want("demo", null);
    if (this.view) this.view.close();
  }

  async load() {
    try {
      const d = await maybe("demo/faults");
      if (this.closed) return;
      if (!d) { put(this.host, h("p.empty", null, t("demo.none"))); return; }
      this.paint(d.faults);
    } catch (err) { this.app.notify(err); }
  }

  paint(list) {
    const focused = document.activeElement && document.activeElement.dataset.fault;
    this.list = list;
    const by = new Map([["bus", []], ["unit", []], ["sensor", []], ["plant", []], ["broker", []]]);
    for (const f of list) by.get(kinds[f.name.split(":")[1]] || "plant").push(f);
    put(this.buttons, [...by].filter(([, l]) => l.length).map(([kind, l]) => [h("h3", null, t("demo." + kind)), h("div.fault-group", null, l.map((f) => {
      const single = once.has(f.name.split(":")[1]);
      return h("button.fault", { type: "button", "aria-pressed": single ? null : String(f.on), data: { fault: f.name }, onclick: () => this.set(f.name, single ? true : !f.on) },
        h("span", null, title(f)), h("span.sub", null, single ? t("demo.once") : f.on ? t("demo.on") : t("demo.off")));
    }))]));
    if (focused) { const e = [...this.buttons.querySelectorAll("button")].find((b) => b.dataset.fault === focused); if (e) e.focus(); }
  }

  async set(name, on) {
    try {
      const d = await post("demo/faults", { name, on });
      if (!this.closed) this.paint(d.faults);
    } catch (err) { this.app.notify(err); }
  }

  async mend() { for (const f of this.list || []) if (f.on) await this.set(f.name, false); }

  state() {
    if (!live.ready || this.closed) return;
    const rig = live.rigs[0];
    if (!rig) return;
    if (!this.record || this.rig !== rig.name) {
      this.rig = rig.name;
      this.record = new RecordBadge(this.app, rig.name);
      put(this.badge, this.record.el);
      const g = [...rig.groups].sort((a, b) => a.period_ms - b.period_ms || a.channels.length - b.channels.length);
      const names = g.flatMap((x) => x.channels.filter((c) => c.symbol && c.unit !== "count" && !c.derived).map((c) => rig.name + "/" + c.name)).slice(0, 3);
      live.want("demo", names);
      if (this.view) this.view.close();
      this.view = new Scope({ channels: names, window: 60 }, { changed() {}, fixed: true, all: () => names, short: (n) => n.slice(n.indexOf("/") + 1), height: 230 });
      put(this.scope, this.view.el);
    }
    this.record.paint();
    put(this.problems, h("h2", null, t("health.problems")), live.problems.length ? h("ul.messages", null, live.problems.map((p) => h("li", null, h("code", null, p.code), h("span", null, p.what), p.do ? h("span.do", null, p.do) : null))) : h("p.pad.sub", null, t("health.noProblems")));
  }

  tick() {
    if (this.record) this.record.tick();
    const known = live.gaps.slice(-12), first = known.length ? known[0].from : Infinity;
    const list = [...(this.view ? this.view.extra.gaps.filter((g) => g.from < first) : []), ...known].slice(-12).reverse();
    const key = list.map((g) => g.from + g.to).join();
    if (key === this.gapKey) return;
    this.gapKey = key;
    put(this.gaps, list.length ? h("div.list", null, h("table", null, h("tbody", null, list.map((g) => h("tr", null, h("td", null, clock(g.from, 1)), h("td.r", null, span(g.to - g.from)), h("td", null, `${g.rig}/${g.group}`), h("td.wrap", null, reason(g.reason))))))) : h("p.pad.sub", null, t("demo.noGaps")));
  }

  frame(stamp) { if (this.view && !document.hidden) this.view.frame(stamp); }
}

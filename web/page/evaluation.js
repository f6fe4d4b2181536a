// Evaluation of a recording by the methods of the standards, by hand and, while
// a recording runs, again and again.
import { maybe, post } from "./api.js";
import { button, h, put, select, text } from "./dom.js";
import { live } from "./live.js";
import { clock, figure, t, title } from "./text.js";

const again = 5000; // ms between two evaluations of a recording that still grows
const fewDraws = "2000"; // of the uncertainty, while it grows

/** fitting says whether all channels that a method needs are there by name. */
function fitting(m, names) { return m.channels.filter((c) => c.required).every((c) => names.has(c.name)); }

const path = (id) => `recordings/${encodeURIComponent(id)}/evaluate`;

/** Evaluation is the form with which a person judges one recording. */
export class Evaluation {
  constructor(host, app, id, methods, channels) {
    this.host = host;
    this.app = app;
    this.id = id;
    this.channels = channels;
    this.names = new Set(channels.map((c) => c.name));
    this.methods = [...methods].sort((a, b) => fitting(b, this.names) - fitting(a, this.names));
    this.form = h("div");
    this.out = h("div", { "aria-live": "polite" });
    put(host, h("h2", null, t("rec.evaluate")), h("div.pad.stack", null,
      h("div.bar", null, h("label", null, t("rec.method"), select(t("rec.method"), this.methods.map((m) => [m.name, title(m) + (m.standard ? " · " + m.standard : "")]), this.methods[0].name, (name) => this.fill(name)))), this.form), this.out);
    this.fill(this.methods[0].name);
  }

  fill(name) {
    const m = this.methods.find((x) => x.name === name);
    put(this.out);
    const inputs = m.parameters.map((p) => [p, h("input", { type: "text", value: p.default || "", placeholder: p.required ? t("rec.required") : "" })]);
    const maps = m.channels.filter((c) => c.required || this.names.has(c.name)).map((c) => [c, h("select", null,
      h("option", { value: "" }, this.names.has(c.name) ? c.name : t("rec.auto")), this.channels.filter((x) => x.name !== c.name).map((x) => h("option", { value: x.name }, x.name)))]);
    const label = ([p, e]) => h("label", null, h("span", null, title(p) + (p.unit ? ` (${p.unit})` : "")), e);
    const needed = inputs.filter(([p]) => p.required), other = inputs.filter(([p]) => !p.required);
    const go = button(t("rec.run"), async () => {
      go.disabled = true;
      put(this.out, h("p.pad", null, t("rec.running")));
      const body = { method: m.name, parameters: {}, channels: {} };
      for (const [p, e] of inputs) if (e.value.trim() !== "" && e.value !== p.default) body.parameters[p.name] = e.value.trim();
      for (const [c, e] of maps) if (e.value) body.channels[c.name] = e.value;
      if (!Object.keys(body.channels).length) delete body.channels;
      try { put(this.out, outcome(await post(path(this.id), body))); } catch (err) { put(this.out); this.app.notify(err); }
      go.disabled = false;
    }, { class: "primary" });
    put(this.form, needed.length ? h("div.form", null, needed.map(label)) : null,
      h("details", null, h("summary", null, t("rec.parameters")), h("div.form", null, other.map(label), maps.map(([c, e]) => h("label", null, h("span", null, t("rec.channelFor", c.name) + (c.unit ? ` (${c.unit})` : "")), e)))), go);
  }
}

/** LiveEvaluation judges the open recording of a rig while it grows. */
export class LiveEvaluation {
  constructor(app, rig) {
    this.app = app;
    this.rig = rig;
    this.el = h("section.card", { hidden: true, "aria-label": t("rec.evaluate") });
    this.next = 0;
    maybe("methods").then((d) => {
      const found = live.rig(rig);
      if (!d || !found) return;
      const names = new Set(found.groups.flatMap((g) => g.channels.map((c) => c.name)));
      const fit = d.methods.filter((m) => fitting(m, names) && m.channels.filter((c) => c.required).length > 1 && !m.parameters.some((p) => p.required));
      fit.sort((a, b) => b.channels.length - a.channels.length);
      [this.method] = fit;
      this.tick();
    }, () => {});
  }

  close() { this.closed = true; }

  async tick() {
    const d = live.records.get(this.rig);
    if (!this.method || !d || this.busy || document.hidden || Date.now() < this.next || d.ended && this.done === d.recording) return;
    this.busy = true;
    try {
      const parameters = this.method.parameters.some((p) => p.name === "draws") && !d.ended ? { draws: fewDraws } : {};
      const r = await post(path(d.recording), { method: this.method.name, parameters });
      if (this.closed) return;
      if (d.ended) this.done = d.recording;
      this.show(r, d);
    } catch {
      this.el.hidden = true; // the form of the recording says why
    } finally {
      this.busy = false;
      this.next = Date.now() + again;
    }
  }

  show(r, d) {
    this.el.hidden = false;
    const key = JSON.stringify([r.figures, r.refusal, d.ended]);
    if (this.stamp) text(this.stamp, clock(live.now()));
    if (key === this.key) return;
    this.key = key;
    this.stamp = h("span.stamp.num", null, clock(live.now()));
    const plot = r.plot_svg ? h("img.eval-plot", { alt: t("rec.plot"), src: svg(r.plot_svg) }) : null;
    put(this.el, h("div.scope-head", null, h("h2", null, title(this.method)), h("span.sub", null, d.ended ? r.wording : t("rec.whileRunning")), h("span.fill"), this.stamp, h("a", { href: "#/recordings/" + encodeURIComponent(d.recording) }, t("rec.details"))),
      h("div.live-eval", null, r.figures.length ? h("dl.figs", null, r.figures.map((f) => h("div", null, h("dt", null, f.name, h("span.sub", null, " " + (title(f) === f.name ? "" : title(f)))), h("dd", null, value(f))))) : r.refusal ? h("p.sub", null, t("rec.notYet"), " ", r.refusal.what) : null, plot));
  }
}

const svg = (s) => "data:image/svg+xml;charset=utf-8," + encodeURIComponent(s);

function value(f) { return f.text || `${figure(f.value, 5)} ${f.unit || ""}` + (f.U === null || f.U === undefined ? "" : ` ± ${figure(f.U, 2)}`); }

/** outcome shows what a method found. */
export function outcome(r) {
  const box = h("div.pad.stack", null, h("p", null, h("b", null, r.wording), " ", r.simulated ? h("span.mark", null, t("app.simulated")) : null));
  if (r.refusal) box.append(h("p.refusal", null, h("b", null, t("rec.refusal")), " ", r.refusal.code ? h("code", null, r.refusal.code) : null, " ", r.refusal.what));
  if (r.figures && r.figures.length) {
    box.append(h("table.figures", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, t("rec.figure")), h("th", { scope: "col" }, t("rec.value")), h("th", { scope: "col" }, t("rec.uncertainty")))),
      h("tbody", null, r.figures.map((f) => h("tr", null, h("th", { scope: "row" }, title(f) === f.name ? f.name : `${f.name} · ${title(f)}`), h("td", null, f.text || `${figure(f.value, 5)} ${f.unit || ""}`), h("td", null, f.U === null || f.U === undefined ? t("rec.noU") : figure(f.U, 2), f.U === null || f.U === undefined ? null : h("span.sub", null, (f.value ? ` · ${figure(Math.abs(f.U / f.value) * 100, 2)} %` : "") + (f.k ? ` · k = ${f.k.toFixed(2)}` : ""))))))));
  }
  if (r.plot_svg) box.append(h("img.eval-plot", { alt: t("rec.plot"), src: svg(r.plot_svg) }));
  for (const k of ["conventions", "notes"]) if (r[k] && r[k].length) box.append(h("details", null, h("summary", null, t("rec." + k)), h("ul", null, r[k].map((x) => h("li", null, x)))));
  return box;
}


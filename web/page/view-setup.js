import { getText, maybe, notOffered, post, putText, q } from "./api.js";
import { button, h, put, select, text } from "./dom.js";
import { live } from "./live.js";
import { append, cell, change, columns, locate, others, parse } from "./rigtext.js";
import { bytes, count, figure, period, sinceNow, t } from "./text.js";

const tabs = ["file", "channels", "probe", "topics"];
const heads = { name: "name", group: "group", device: "device", address: "address", type: "type", order: "order", scale: "scale", offset: "offset", unit: "unit", range: "rangeColumn", accuracy: "accuracy" };

/** SetupView edits what a rig is. */
export class SetupView {
  constructor(host, app, [rig, tab]) {
    this.host = host;
    this.app = app;
    this.want = rig || "";
    this.tab = tabs.includes(tab) ? tab : "file";
    this.onHello = () => { if (!this.rig) this.begin(); };
    live.addEventListener("hello", this.onHello);
    put(host, h("p.empty", null, t("app.waiting")));
    if (live.ready) this.begin();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    live.removeEventListener("hello", this.onHello);
  }

  go([rig, tab]) {
    if ((rig || this.rig) !== this.rig) return false;
    this.show(tabs.includes(tab) ? tab : "file");
    return true;
  }

  async begin() {
    const rig = live.rig(this.want) || live.rigs[0];
    if (!rig) { put(this.host, h("p.empty", null, t("live.noRig"))); return; }
    this.rig = rig.name;
    this.strip = h("div.tabs", { role: "tablist" }, tabs.map((k) => h("button", { type: "button", role: "tab", id: "tab-" + k, data: { tab: k }, onclick: () => { location.hash = `#/setup/${encodeURIComponent(this.rig)}/${k}`; },
      onkeydown: (e) => {
        const by = e.key === "ArrowRight" ? 1 : e.key === "ArrowLeft" ? -1 : 0;
        if (by) { const next = tabs[(tabs.indexOf(k) + by + tabs.length) % tabs.length]; location.hash = `#/setup/${encodeURIComponent(this.rig)}/${next}`; this.strip.querySelector(`[data-tab="${next}"]`).focus(); }
      } }, t("setup." + k))));
    this.panel = h("div.stack", { role: "tabpanel" });
    put(this.host, h("div.rig-head", null, live.rigs.length > 1 ? select(t("live.rig"), live.rigs.map((r) => [r.name, r.name]), rig.name, (v) => { location.hash = "#/setup/" + encodeURIComponent(v); }, { class: "rig-select" }) : h("h1", null, rig.name),
      h("span.about", null, h("code", null, rig.file || "")), rig.simulated ? h("span.mark", null, t("app.simulated")) : null), this.strip, this.panel);
    try {
      const f = await getText(`rigs/${encodeURIComponent(rig.name)}/file`);
      this.text = this.saved = f.text;
      this.tag = f.tag;
    } catch (err) { if (!notOffered(err)) this.app.notify(err); this.text = null; }
    if (this.closed) return;
    this.report = null;
    this.show(this.tab);
    if (this.text !== null) this.check();
  }

  show(tab) {
    this.tab = tab;
    for (const b of this.strip.children) { b.setAttribute("aria-selected", String(b.dataset.tab === tab)); b.tabIndex = b.dataset.tab === tab ? 0 : -1; }
    this.panel.setAttribute("aria-labelledby", "tab-" + tab);
    put(this.panel);
    this.editor = this.grid = null;
    if (tab === "file" || tab === "channels") {
      if (this.text === null) { put(this.panel, h("p.empty", null, t("setup.noFile"))); return; }
      this.state = h("span.sub");
      this.save = button(t("setup.save"), () => this.put(), { class: "primary", disabled: true });
      this.revert = button(t("setup.revert"), () => { this.text = this.saved; this.show(this.tab); this.check(); }, { disabled: true });
      this.side = h("div.stack");
      if (tab === "file") this.file(); else this.channels();
      this.paint();
    } else if (tab === "probe") this.probe();
    else this.topics();
  }

  toolbar() { return h("div.bar.pad", null, this.state, h("span.fill"), this.app.operator ? [this.revert, this.save] : h("span.sub", null, t("setup.viewer"))); }

  file() {
    this.gutter = h("div.gutter", { "aria-hidden": "true" });
    this.editor = h("textarea", { "aria-label": t("setup.editor", this.rig), spellcheck: "false", autocapitalize: "off", wrap: "off", value: this.text,
      oninput: () => { this.text = this.editor.value; this.later(); this.paint(); }, onscroll: () => { this.gutter.scrollTop = this.editor.scrollTop; } });
    put(this.panel, h("div.two", null, h("section.card", null, this.toolbar(), h("div.editor", null, this.gutter, this.editor)), this.side));
  }

  later() {
    clearTimeout(this.timer);
    text(this.state, t("setup.checking"));
    this.timer = setTimeout(() => this.check(), 400);
  }

  async check() {
    if (this.text === null) return;
    const asked = this.text;
    try {
      const d = await post("check", { name: this.rig, text: asked });
      if (this.closed || asked !== this.text) return;
      this.report = d;
      this.paint();
    } catch (err) { if (!notOffered(err)) this.app.notify(err); }
  }

  async put() {
    const sent = this.text;
    try {
      const d = await putText(`rigs/${encodeURIComponent(this.rig)}/file`, sent, this.tag);
      this.tag = d.tag || this.tag;
      this.saved = sent;
      this.report = { ...this.report, ...d.report };
      this.app.say(t("setup.saved"));
      this.paint();
      text(this.state, t("setup.saved"));
    } catch (err) {
      this.app.notify(err);
      if (err.problem && err.problem.problems) { this.report = { ...this.report, problems: err.problem.problems }; this.paint(); }
    }
  }

  paint() {
    if (!this.state || !this.side.isConnected) return;
    const dirty = this.text !== this.saved, list = (this.report && this.report.problems) || [];
    const errors = list.filter((p) => p.severity === "error").length;
    text(this.state, !this.report ? t("setup.checking") : dirty ? t("setup.changed") : t("setup.unchanged"));
    this.save.disabled = !dirty || errors > 0;
    this.revert.disabled = !dirty;
    if (this.editor) {
      const n = this.text.split("\n").length, marks = new Map();
      for (const p of list) if (p.line && marks.get(p.line) !== "error") marks.set(p.line, p.severity);
      put(this.gutter, Array.from({ length: n }, (_, i) => h("div", { class: marks.get(i + 1) || null, title: list.filter((p) => p.line === i + 1).map((p) => p.what).join("\n") || null }, String(i + 1))), h("div"), h("div"));
      this.gutter.scrollTop = this.editor.scrollTop;
    }
    if (this.grid) this.markCells(list);
    const r = this.report;
    put(this.side, h("section.card", null, h("h2", null, t("health.problems")), !r ? h("p.pad.sub", null, t("setup.checking")) : list.length ? h("ul.messages", null, list.map((p) => h("li." + (p.severity === "error" ? "bad" : "warn"), null,
      h("i.dot", { title: t("health." + (p.severity === "error" ? "error" : "warning")) }), h("span", null, p.line ? h("button.link", { type: "button", onclick: () => this.jump(p) }, t("setup.lineColumn", p.line, p.column || 1) + ": ") : null, p.what, " ", h("code.sub", null, p.code)), p.do ? h("span.do", null, p.do) : null, p.where ? h("span.where", null, p.where) : null)))
      : h("p.pad.state.ok", null, h("i.dot"), t("setup.clean"))),
    r && !errors ? h("section.card", null, h("h2", null, t("setup.plan")), h("div.pad", null, h("dl.facts", null, h("dt", null, t("setup.series")), h("dd", null, count(r.series)), h("dt", null, t("setup.perDay")), h("dd", null, bytes(r.bytes_per_day))),
      h("h3", null, t("setup.load")), r.plan.map((b) => [h("div.bar", null, h("b", null, b.bus), h("span.fill"), h("span.num", null, figure(b.load_percent, 3) + " %")), meter(b.load_percent),
        h("details", null, h("summary", null, `${t("setup.requests")}: ${b.requests.length}`), h("ul.plan", null, b.requests.map((x) => h("li", null, h("b", null, x.group), " ", x.text, h("span.sub", null, " · " + t("setup.everyMs", period(x.period_ms), figure(x.time_ms, 3)))))))]))) : null);
    for (const e of this.side.querySelectorAll(".messages li")) e.style.color = "var(--ink)";
  }

  jump(p) {
    if (!this.editor) {
      const at = locate(parse(this.text), p.line, p.column || 1);
      const e = at && this.inputs && this.inputs.get(at.name + "\n" + at.column);
      if (e) { e.focus(); return; }
      this.show("file");
    }
    const lines = this.text.split("\n");
    const at = lines.slice(0, p.line - 1).reduce((n, l) => n + l.length + 1, 0) + Math.max(0, (p.column || 1) - 1);
    this.editor.focus();
    this.editor.setSelectionRange(at, at);
    this.editor.scrollTop = Math.max(0, (p.line - 8) * 19);
  }

  channels() {
    this.grid = h("div.grid-table");
    put(this.panel, h("div.two.wide-left", null, h("section.card", null, this.toolbar(), h("p.pad.sub", null, t("setup.tableHint")), this.grid), this.side));
    this.fillGrid();
  }

  fillGrid() {
    const doc = parse(this.text), before = parse(this.saved);
    this.inputs = new Map();
    if (!doc.rows.length) { put(this.grid, h("p.empty", null, t("setup.noChannels"))); return; }
    put(this.grid, h("table", null, h("thead", null, h("tr", null, columns.map((c) => h("th", { scope: "col" }, t("setup." + heads[c]))), h("th", { scope: "col" }, t("setup.otherKeys")))),
      h("tbody", null, doc.rows.map((row, y) => {
        const old = before.rows.find((r) => r.name === row.name);
        return h("tr", null, columns.map((c, x) => {
          const v = cell(row, c);
          const e = h("input", { value: v, class: c === "name" ? "name" : null, size: Math.max(4, Math.min(18, v.length + 1)), spellcheck: "false", "aria-label": t("setup.cell", t("setup." + heads[c]), row.name), disabled: !this.app.operator,
            onchange: () => { if (e.value.trim() !== v) this.edit(change(this.text, row.name, c, e.value), y, x); },
            onpaste: (ev) => this.paste(ev, y, x), onkeydown: (ev) => this.walk(ev, y, x) });
          e.style.minWidth = `${Math.max(c === "name" ? 8 : 5, v.length + 2)}ch`;
          this.inputs.set(row.name + "\n" + c, e);
          return h("td", { class: old && cell(old, c) === v ? null : "dirty", data: { x, y } }, e);
        }), h("td", { data: { x: columns.length, y } }, h("span.sub.mono", null, others(row))));
      }))), this.app.operator ? h("div.pad", null, button("+ " + t("setup.newChannel"), () => {
      let n = doc.rows.length + 1;
      while (doc.rows.some((r) => r.name === "channel_" + n)) n++;
      this.edit(append(this.text, "channel_" + n), doc.rows.length, 0);
    }, { class: "quiet" })) : null);
  }

  at(y, x) { return this.grid.querySelector(`td[data-x="${x}"][data-y="${y}"] input`); }

  walk(e, y, x) {
    const by = e.key === "ArrowDown" || e.key === "Enter" ? 1 : e.key === "ArrowUp" ? -1 : 0;
    if (!by) return;
    e.preventDefault();
    e.target.blur(); // its change comes first and may build the table anew
    const next = this.at(y + by, x);
    if (next) next.focus();
  }

  edit(next, y, x) {
    this.text = next;
    this.fillGrid();
    const e = this.at(y, x);
    if (e) e.focus();
    this.paint();
    this.later();
  }

  paste(ev, y, x) {
    const words = ev.clipboardData.getData("text/plain").replace(/\r/g, "").replace(/\n$/, "");
    if (!/[\t\n]/.test(words)) return;
    ev.preventDefault();
    let next = this.text;
    words.split("\n").forEach((line, i) => {
      const cells = line.split("\t");
      let row = parse(next).rows[y + i];
      if (!row) {
        const name = x === 0 && cells[0].trim() ? cells[0].trim() : "channel_" + (y + i + 1);
        next = append(next, name);
        row = { name };
      }
      let name = row.name;
      cells.forEach((v, j) => {
        const c = columns[x + j];
        if (!c) return;
        next = change(next, name, c, v);
        if (c === "name" && v.trim()) name = v.trim();
      });
    });
    this.edit(next, y, x);
  }

  markCells(list) {
    for (const e of this.grid.querySelectorAll(".cell-wrong")) e.remove();
    for (const e of this.grid.querySelectorAll("td.wrong")) e.classList.remove("wrong");
    const doc = parse(this.text);
    for (const p of list) {
      if (!p.line) continue;
      const at = locate(doc, p.line, p.column || 1);
      if (!at) continue;
      const y = doc.rows.findIndex((r) => r.name === at.name), x = at.column === "others" ? columns.length : columns.indexOf(at.column);
      const td = this.grid.querySelector(`td[data-x="${x}"][data-y="${y}"]`);
      if (!td) continue;
      td.classList.add("wrong");
      td.append(h("span.cell-wrong", null, p.what + (p.do ? " · " + p.do : "")));
    }
  }

  probe() {
    if (this.noProbe) { put(this.panel, h("p.empty", null, t("setup.noProbe"))); return; }
    const rig = live.rig(this.rig), modbus = rig ? rig.buses.filter((b) => b.protocol === "modbus") : [];
    const list = h("datalist", { id: "buses" }, modbus.map((b) => h("option", { value: b.endpoint })));
    const url = h("input", { type: "text", value: modbus.length ? modbus[0].endpoint : "tcp://", list: "buses", required: true, spellcheck: "false" });
    const units = h("input", { type: "text", placeholder: "1, 2, 10", pattern: "[0-9, ]*" }), from = h("input", { type: "number", min: "0", max: "65535", value: "0" }), n = h("input", { type: "number", min: "1", max: "2000", value: "16" });
    const table = select(t("setup.table"), [["holding", "holding"], ["input", "input"]], "holding", () => {});
    const out = h("div.stack", { "aria-live": "polite" }), go = h("button.primary", { type: "submit", disabled: !this.app.operator }, t("setup.probeRun"));
    put(this.panel, h("section.card.pad", null, h("form.form", { onsubmit: async (e) => {
      e.preventDefault();
      go.disabled = true;
      put(out, h("p.empty", null, t("setup.probing")));
      const body = { url: url.value.trim(), table: table.value, from: +from.value, count: +n.value }, u = units.value.split(/[\s,]+/).filter(Boolean).map(Number);
      if (u.length) body.units = u;
      try { put(out, this.probed(await post("probe", body))); } catch (err) {
        put(out);
        if (notOffered(err)) { this.noProbe = true; this.probe(); return; }
        this.app.notify(err);
      }
      go.disabled = false;
    } }, h("label", null, t("setup.probeUrl"), url, list), h("label", null, t("setup.units"), units), h("label", null, t("setup.table"), table), h("label", null, t("setup.from"), from), h("label", null, t("setup.count"), n), go), h("p.sub", null, t("setup.probeHint"))), out);
  }

  probed(d) {
    const hex = (n, w = 4) => "0x" + n.toString(16).toUpperCase().padStart(w, "0");
    return [
      d.problems && d.problems.length ? h("section.card.pad", null, d.problems.map((p) => h("p.bad", null, p))) : null,
      d.units.length ? d.units.map((u) => h("section.card", null, h("h2", null, t("setup.unitN", u.unit)), h("div.pad", null, Object.keys(u.identity).length ? h("dl.facts", null, Object.entries(u.identity).map(([k, v]) => [h("dt", null, k), h("dd", null, v)])) : null, u.note ? h("p.sub", null, u.note) : null),
        u.registers.length ? h("div.list", null, h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, t("setup.address")), h("th", { scope: "col" }, t("setup.words")), h("th", { scope: "col" }, t("setup.decodings")))),
          h("tbody", null, u.registers.map((r) => h("tr", null, h("th", { scope: "row" }, h("code", null, `${r.table} ${hex(r.address)}`)), h("td", null, h("code", null, r.words.map((w) => hex(w).slice(2)).join(" "))),
            h("td.wrap", null, h("div.decodings", null, r.decodings.map((x) => h("span", { class: x.plausible ? "plausible" : null, title: x.plausible ? t("setup.plausible") : null }, x.plausible ? "✓ " : "", h("span.sub", null, `${x.type} ${x.order} `), x.value === null ? "NaN" : figure(x.value, 7)))))))))) : null)) : h("p.empty", null, t("setup.noUnit")),
      d.yaml ? h("section.card", null, h("h2", null, t("setup.paste")), h("div.pad", null, h("pre.sample", { tabindex: "0" }, d.yaml))) : null,
    ];
  }

  async topics() {
    const out = h("div.list");
    put(this.panel, h("section.card", null, out));
    try {
      const d = await maybe("topics" + q({ rig: this.rig }));
      if (this.tab !== "topics" || this.closed) return;
      if (!d || !d.topics.length) put(out, h("p.empty", null, t("setup.noTopics")));
      else {
        const rows = [];
        const seen = new Set();
        for (const x of [...d.topics].sort((a, b) => a.topic < b.topic ? -1 : 1)) {
          const levels = x.topic.split("/");
          levels.slice(0, -1).forEach((l, i) => {
            const at = levels.slice(0, i + 1).join("/");
            if (!seen.has(at)) { seen.add(at); rows.push(branch(l, i, null)); }
          });
          rows.push(branch(levels[levels.length - 1], levels.length - 1, x));
        }
        put(out, h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, t("setup.topic")), h("th.right", { scope: "col" }, t("setup.messages")), h("th", { scope: "col" }, t("setup.last")), h("th", { scope: "col" }, t("setup.payload")))), h("tbody", null, rows)));
      }
    } catch (err) { this.app.notify(err); }
  }

  tick() {
    this.beats = (this.beats || 0) + 1;
    if (this.tab === "topics" && this.beats % 3 === 0 && this.panel) this.refreshTopics();
  }

  refreshTopics() {
    if (this.panel.querySelector(".empty") || this.panel.contains(document.activeElement)) { if (this.beats % 9) return; }
    this.topics();
  }
}

function branch(words, depth, x) {
  const th = h("th.topic", { scope: "row", title: x ? x.topic : null }, x ? words : words + "/");
  th.style.paddingLeft = 12 + depth * 18 + "px";
  return h("tr", null, th, h("td.r", null, x ? count(x.count) : ""), h("td", null, x ? sinceNow(x.last) : ""), h("td", null, x ? h("div.payload", { title: x.payload_excerpt }, x.payload_excerpt) : null, x && x.quarantined ? h("span.bad", null, x.quarantined) : null));
}

function meter(v) {
  const i = h("i"), e = h("div.loadbar." + (v > 80 ? "high" : "fine"), null, i);
  i.style.width = Math.min(100, Math.max(0.5, v)) + "%";
  return e;
}

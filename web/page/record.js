// The badge of a recording: what is recorded here, delivered and archived, and
// how much is missing and why.
import { maybe, post } from "./api.js";
import { button, h, put, text } from "./dom.js";
import { live } from "./live.js";
import { count, reason, sinceNow, span, t } from "./text.js";

/** RecordBadge is the strip of one rig. */
export class RecordBadge {
  constructor(app, rig) {
    this.app = app;
    this.rig = rig;
    this.el = h("section.record", { "aria-label": t("record.label", rig) });
    this.sinks = null;
    this.build();
    maybe("health").then((d) => { this.sinks = d ? d.forwarders.filter((f) => !f.rigs.length || f.rigs.includes(rig)).length : 0; this.paint(); }, () => {});
  }

  build() {
    this.lamp = h("span.lamp");
    this.title = h("b");
    this.sub = h("span.sub");
    this.elapsed = h("span.elapsed.num");
    const stage = (key) => {
      const e = { el: null, value: h("b.num"), note: h("span.sub") };
      e.el = h("div.stage", { title: t("record." + key + "Why") }, h("span.stage-name", null, h("i.dot"), t("record." + key)), e.value, e.note);
      return e;
    };
    this.stored = stage("stored");
    this.delivered = stage("delivered");
    this.archived = stage("archived");
    this.missing = stage("missing");
    this.reasons = h("ul.reasons");
    this.act = h("div.act");
    put(this.el, h("div.record-name", null, this.lamp, h("div", null, h("div", null, this.title, " ", this.elapsed), this.sub)),
      this.stored.el, h("span.arrow", { "aria-hidden": "true" }, "→"), this.delivered.el, h("span.arrow", { "aria-hidden": "true" }, "→"), this.archived.el, this.missing.el, this.act, this.reasons);
    this.paint();
  }

  paint() {
    const d = live.records.get(this.rig), open = d && !d.ended;
    const rig = live.rig(this.rig);
    this.el.classList.toggle("on", Boolean(open));
    this.el.classList.toggle("off", !d);
    text(this.title, open ? t("record.on") : d ? t("record.ended") : t("record.off"));
    put(this.sub, d ? h("a", { href: "#/recordings/" + encodeURIComponent(d.recording) }, d.recording) : t("record.offNote"));
    if (d && d.owner) this.sub.append(" · " + d.owner);
    for (const s of [this.stored, this.delivered, this.archived, this.missing]) s.el.hidden = !d;
    for (const a of this.el.querySelectorAll(".arrow")) a.hidden = !d;
    if (d) {
      const lost = Object.values(d.missing || {}).reduce((a, b) => a + b, 0);
      this.stage(this.stored, d.stored + lost + d.unexplained >= d.planned ? "ok" : "warn", count(d.stored), t("record.of", count(d.planned)));
      if (this.sinks === 0) this.stage(this.delivered, "none", "–", t("record.noSink"));
      else if (d.refused) this.stage(this.delivered, "bad", count(d.delivered), t("record.refused", count(d.refused)));
      else this.stage(this.delivered, d.delivered >= d.stored ? "ok" : "warn", count(d.delivered), d.waiting ? t("record.waiting", count(d.waiting)) : t("record.of", count(d.stored)));
      this.stage(this.archived, d.archived ? "ok" : "none", d.archived ? t("yes") : "–", d.archived ? "" : open ? t("record.archiveLater") : t("record.notArchived"));
      this.stage(this.missing, d.unexplained ? "bad" : lost ? "warn" : "ok", count(lost + d.unexplained), d.planned ? ((lost + d.unexplained) / d.planned * 100).toFixed(lost + d.unexplained ? 2 : 0) + " %" : "");
      const list = Object.entries(d.missing || {}).filter(([, n]) => n).sort((a, b) => b[1] - a[1]);
      const key = JSON.stringify([list, d.unexplained]);
      if (key !== this.reasonKey) {
        this.reasonKey = key;
        put(this.reasons, list.map(([name, n]) => h("li", null, h("b.num", null, count(n)), " ", reason(name))),
          d.unexplained ? h("li.bad", null, h("b.num", null, count(d.unexplained)), " ", t("record.unexplained")) : null);
      }
      this.reasons.hidden = !list.length && !d.unexplained;
    } else this.reasons.hidden = true;
    const key = open ? d.recording : "start";
    if (this.actKey !== key) {
      this.actKey = key;
      this.tock = 0;
      if (!this.app.operator) put(this.act);
      else if (open) put(this.act, button(t("record.stop"), () => this.stop(d.recording), { class: "stop" }));
      else put(this.act, button(t("record.start"), () => this.ask(), { class: "primary", disabled: !rig }));
    }
    this.tick();
  }

  stage(s, state, value, note) {
    s.el.className = "stage " + state;
    text(s.value, value);
    text(s.note, note);
  }

  tick() {
    const d = live.records.get(this.rig);
    text(this.elapsed, d && !d.ended ? span(Math.floor((live.now() - Date.parse(d.start)) / 1000) * 1000) : "");
    if (d) this.elapsed.title = sinceNow(d.start);
  }

  async stop(id) {
    try {
      await post(`recordings/${encodeURIComponent(id)}/stop`);
      this.app.say(t("record.stopped"));
    } catch (err) { this.app.notify(err); }
  }

  ask() {
    const rig = live.rig(this.rig);
    if (!rig) return;
    const groups = rig.groups.map((g) => h("input", { type: "checkbox", value: g.name, checked: true }));
    const owner = h("input", { type: "text", maxlength: "100" }), note = h("textarea", { rows: "3", maxlength: "4000" });
    const wrong = h("p.wrong", { role: "alert" });
    const go = h("button.primary", { type: "submit" }, t("record.start"));
    const dialog = h("dialog", { "aria-label": t("record.startTitle", this.rig) },
      h("form", { method: "dialog", onsubmit: async (e) => {
        e.preventDefault();
        go.disabled = true;
        const chosen = groups.filter((g) => g.checked).map((g) => g.value);
        try {
          const body = { rig: this.rig };
          if (chosen.length < groups.length) body.groups = chosen;
          if (owner.value.trim()) body.owner = owner.value.trim();
          if (note.value.trim()) body.note = note.value.trim();
          await post("recordings", body);
          this.app.say(t("record.started"));
          dialog.close();
        } catch (err) { text(wrong, [err.message, err.problem && err.problem.do].filter(Boolean).join(" ")); go.disabled = false; }
      } },
      h("h2", null, t("record.startTitle", this.rig)),
      rig.groups.length > 1 ? h("fieldset", null, h("legend", null, t("record.groups")), groups.map((g) => h("label.check", null, g, g.value))) : null,
      h("label", null, t("record.owner"), owner), h("label", null, t("record.note"), note), wrong,
      h("div.buttons", null, button(t("cancel"), () => dialog.close()), go)));
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    note.focus();
  }
}

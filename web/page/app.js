// The frame around the views: who is connected, where one is, and in which
// language and scheme it is shown.
import { APIError, get, remove } from "./api.js";
import { add, button, h, iconButton, put, text } from "./dom.js";
import { live } from "./live.js";
import { clock, language, setLanguage, t, zoneName, zoneOffset } from "./text.js";
import { LiveView } from "./view-live.js";
import { RecordingsView } from "./view-recordings.js";
import { SetupView } from "./view-setup.js";
import { HealthView } from "./view-health.js";
import { DemoView } from "./view-demo.js";

const views = { live: LiveView, recordings: RecordingsView, setup: SetupView, health: HealthView, demo: DemoView };
const main = document.getElementById("main");
const notices = document.getElementById("notices");

class App {
  constructor() {
    this.session = null;
    this.view = null;
  }

  /** operator says whether this person may change things. */
  get operator() { return this.session && this.session.role === "operator"; }

  async start() {
    document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
    text(document.getElementById("skip"), t("app.skip"));
    try {
      this.session = await get("session");
    } catch (err) {
      if (err instanceof APIError && err.status === 401) return this.lost();
      this.notify(err, "start");
    }
    this.build();
    live.addEventListener("state", () => this.paint());
    live.addEventListener("down", () => setTimeout(() => { if (!live.up) get("session").catch(() => {}); }, 2000));
    live.addEventListener("hello", () => { if (this.gone) { this.gone = false; this.clear("session"); } });
    live.start();
    addEventListener("hashchange", () => this.route());
    addEventListener("no-session", () => this.lost());
    this.route();
    setInterval(() => this.tick(), 1000);
    const frame = (stamp) => {
      if (this.view && this.view.frame) this.view.frame(stamp);
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  build() {
    const s = this.session || {};
    const link = (name) => h("a", { href: "#/" + name, data: { view: name } }, t("nav." + name));
    this.nav = h("nav", { "aria-label": t("nav.label") }, link("live"), link("recordings"), link("setup"), link("health"), s.demo ? link("demo") : null);
    this.troubles = h("span.count", { hidden: true });
    this.nav.querySelector('[data-view="health"]').append(" ", this.troubles);
    this.simulated = h("span.mark", { hidden: !s.simulated, title: t("app.simulatedWhy") }, t("app.simulated"));
    this.link = h("span.state", null, h("i.dot"), h("span"));
    this.clock = h("span.clock.num", { title: t("app.clock") });
    const dark = document.documentElement.dataset.scheme === "dark";
    this.schemeButton = iconButton(dark ? "sun" : "moon", dark ? t("app.toLight") : t("app.toDark"), () => {
      try { localStorage.setItem("pneudaq.scheme", dark ? "light" : "dark"); } catch { /* not kept */ }
      dispatchEvent(new Event("scheme-chosen"));
    });
    const other = language() === "zh" ? "en" : "zh";
    const tongue = button(other === "zh" ? "中文" : "English", () => { setLanguage(other); location.reload(); }, { lang: other === "zh" ? "zh-CN" : "en", class: "quiet" });
    put(document.getElementById("top"),
      h("a.brand", { href: "#/live", "aria-label": "pneudaq" }, h("img", { src: "/icon.svg", alt: "", width: 22, height: 22 }), h("span", null, "pneudaq")),
      this.simulated, this.nav, h("span.fill"), this.link, this.clock, tongue, this.schemeButton,
      s.login ? button(t("app.logout", s.user), async () => { await remove("session"); location.reload(); }, { class: "quiet" }) : null,
      s.role === "viewer" ? h("span.mark.soft", { title: t("app.viewerWhy") }, t("app.viewer")) : null);
    if (!this.listens) addEventListener("scheme", () => { this.build(); this.paint(); this.where(); });
    this.listens = true;
  }

  paint() {
    this.link.className = "state " + (live.up ? "ok" : "bad");
    text(this.link.lastChild, live.up ? t("app.connected") : t("app.disconnected"));
    const n = live.problems.length;
    this.troubles.hidden = n === 0;
    this.troubles.className = "count " + (live.problems.some((p) => p.severity === "error") ? "bad" : "warn");
    text(this.troubles, String(n));
    this.troubles.title = t("app.problems", n);
    if (live.up) this.clear("start");
  }

  tick() {
    const now = live.now(), off = zoneOffset(now) / 60000;
    const sign = off < 0 ? "\u2212" : "+", a = Math.abs(off);
    text(this.clock, `${clock(now)} ${zoneName()}${zoneName() === "UTC" ? "" : ` (UTC${sign}${Math.floor(a / 60)}${a % 60 ? ":" + String(a % 60).padStart(2, "0") : ""})`}`);
    if (this.view && this.view.tick) this.view.tick();
  }

  where() {
    const [name] = location.hash.replace(/^#\/?/, "").split("/");
    for (const a of this.nav.querySelectorAll("a")) {
      if (a.dataset.view === (name || "live")) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
    }
  }

  route() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    const [name, ...rest] = path.split("/").map(decodeURIComponent);
    const View = views[name] || LiveView;
    if (this.view && this.view.constructor === View && this.view.go && this.view.go(rest, new URLSearchParams(query))) return;
    if (this.view && this.view.close) this.view.close();
    this.where();
    document.title = t("nav." + (views[name] ? name : "live")) + " · pneudaq";
    main.replaceChildren();
    main.className = "view-" + (views[name] ? name : "live");
    this.clear("view");
    this.view = new View(main, this, rest, new URLSearchParams(query));
  }

  /** notify shows what went wrong and what to do; key replaces an older one. */
  notify(err, key = "view") {
    if (err.name === "AbortError") return;
    const p = err.problem || {};
    this.clear(key);
    notices.append(h("div.notice.bad", { data: { key } },
      h("p", null, p.code ? h("b.code", null, p.code) : null, p.title && p.title !== p.detail ? h("b", null, p.title + ": ") : null, err.message === "Failed to fetch" ? t("app.unreachable") : err.message, p.do ? h("span.do", null, p.do) : null),
      iconButton("close", t("app.dismiss"), () => this.clear(key))));
  }

  clear(key) {
    for (const e of [...notices.children]) if (e.dataset.key === key) e.remove();
  }

  /** say tells those who listen instead of looking. */
  say(words) { text(document.getElementById("spoken"), words); }

  lost() {
    if (this.gone) return;
    this.gone = true;
    notices.append(h("div.notice.bad", { data: { key: "session" } }, h("p", null, h("b", null, t("app.noSession")), " ", t("app.noSessionDo")),
      add(h("span"), [button(t("app.reload"), () => location.reload())])));
  }
}

new App().start();

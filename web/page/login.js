import { APIError, get, post } from "./api.js";
import { h, put, text } from "./dom.js";
import { language, setLanguage, t } from "./text.js";

async function start() {
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  let users = false;
  try { await get("session"); location.replace("/"); return; } catch (err) {
    users = err instanceof APIError && Boolean(err.problem.login);
  }
  const wrong = h("p.wrong", { role: "alert" });
  const send = (path, body) => async (e) => {
    e.preventDefault();
    text(wrong, "");
    try { await post(path, body()); location.replace("/"); } catch (err) {
      text(wrong, [err.message, err.problem && err.problem.do].filter(Boolean).join(" "));
    }
  };
  const user = h("input", { name: "username", autocomplete: "username", required: true });
  const password = h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const token = h("input", { name: "token", autocomplete: "off", spellcheck: "false", required: true });
  const other = language() === "zh" ? "en" : "zh";
  put(document.getElementById("main"), h("section.card.login-card", null,
    h("h1", null, h("img", { src: "/icon.svg", alt: "", width: 28, height: 28 }), " pneudaq"),
    users
      ? h("form", { onsubmit: send("login", () => ({ user: user.value, password: password.value })) },
        h("label", null, t("login.user"), user), h("label", null, t("login.password"), password), h("button.primary", { type: "submit" }, t("login.enter")))
      : h("div", null, h("p", null, t("login.url")), h("pre.sample", null, "page  http://127.0.0.1:8470/?token=…"),
        h("form", { onsubmit: send("session", () => ({ token: token.value.trim().replace(/^.*token=/, "") })) },
          h("label", null, t("login.token"), token), h("button.primary", { type: "submit" }, t("login.enter")))),
    wrong,
    h("button.quiet", { type: "button", onclick: () => { setLanguage(other); location.reload(); } }, other === "zh" ? "中文" : "English")));
}

start();

// Walks the page of a demonstration in Chromium, in both languages. Started by
// ./run, which says what it needs.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const { chromium } = createRequire(join(process.env.MODULES, "x.js"))("playwright-core");
const root = process.env.ROOT, pictures = process.argv.includes("--screenshots");
const shots = join(root, "docs", "screenshots");
const browserPath = process.env.CHROMIUM || ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);

const messages = {};
for (const m of readFileSync(join(root, "web/page/messages.js"), "utf8").matchAll(/^ {2}"([^"]+)": (\[.*\]),$/gm)) messages[m[1]] = JSON.parse(m[2]);

let passed = 0, failed = 0;
const complaints = [];

/** words of a message in a language. */
const words = (lang) => (key, ...args) => {
  if (!messages[key]) throw new Error("no message " + key);
  return messages[key][lang === "zh" ? 1 : 0].replace(/\{(\d)\}/g, (_, i) => String(args[i] ?? ""));
};

async function check(name, f) {
  const began = Date.now();
  try {
    await f();
    passed++;
    console.log(`ok    ${name} (${Date.now() - began} ms)`);
  } catch (err) {
    failed++;
    console.log(`FAIL  ${name}\n      ${String(err.stack || err).split("\n").slice(0, 6).join("\n      ")}`);
  }
}

function must(ok, what) { if (!ok) throw new Error(what); }

/** until waits for a condition. */
async function until(what, f, ms = 10000) {
  const end = Date.now() + ms;
  let last;
  for (;;) {
    try { last = await f(); if (last) return last; } catch (err) { last = err; }
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms (last: ${last})`);
    await new Promise((r) => setTimeout(r, 100));
  }
}

const demo = spawn(process.env.PNEUDAQ, ["demo", "--listen", "127.0.0.1:0", "--data", join(process.env.WORK, "data")], { stdio: ["ignore", "pipe", "pipe"] });
let output = "";
for (const s of [demo.stdout, demo.stderr]) s.on("data", (b) => { output += b; });
const gone = new Promise((r) => demo.once("exit", r));
const url = await until("the demonstration prints its URL", () => /http:\/\/\S+token=\S+/.exec(output)?.[0], 30000).catch((err) => { console.log(output); demo.kill(); throw err; });
const base = url.replace(/\?.*/, "");
const started = Date.now();

const browser = await chromium.launch({
  executablePath: browserPath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

function watch(page) {
  page.on("pageerror", (err) => complaints.push("error on the page: " + (err.stack || err)));
  page.on("console", (m) => {
    if (m.type() !== "error" && m.type() !== "warning") return;
    if (/status of (404|401|422|409)/.test(m.text()) || /ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|readback operations/.test(m.text())) return; // the tests do that
    complaints.push(`console ${m.type()}: ${m.text()}`);
  });
  return page;
}

const note = { en: "sample 3 of 5 \u00b7 <ISO 6358-1> & leak", zh: "样品 3/5 · <ISO 6358-1> & 泄漏" };
const locale = { en: "en-GB", zh: "zh-CN" };
const context = async (lang, scheme, storageState) => browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: scheme, locale: locale[lang], storageState });
const open = async (page, hash) => { await page.evaluate((h) => { location.hash = h; }, hash); };
const reading = (page, channel) => page.evaluate((name) => {
  const tr = [...document.querySelectorAll(".channels tbody tr")].find((r) => r.querySelector("th") && r.querySelector("th").firstChild.textContent === name);
  return tr ? parseFloat(tr.querySelector("td.reading").textContent.replace("\u2212", "-")) : NaN;
}, channel);
/** inked counts the pixels of a curve's colour in the first scope and sums where they are. */
const inked = (page) => page.evaluate(() => {
  const c = document.querySelector(".scope canvas"), x = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  const probe = document.querySelector(".scope .swatch"), [r, g, b] = getComputedStyle(probe).backgroundColor.match(/\d+/g).map(Number);
  let n = 0, at = 0;
  for (let i = 0; i < x.length; i += 4) if (Math.abs(x[i] - r) + Math.abs(x[i + 1] - g) + Math.abs(x[i + 2] - b) < 40 && x[i + 3] > 200) { n++; at += (i / 4) % 7919; }
  return { n, at };
});
/** clean fails where words run out of what holds them, or the page is wider than the window. */
const clean = (page) => page.evaluate(() => {
  const out = [];
  if (document.documentElement.scrollWidth > innerWidth + 1) out.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${innerWidth}`);
  for (const e of document.querySelectorAll("button, h1, h2, th, dd, dt, .mark, .stage, nav a")) {
    if (!e.offsetParent) continue;
    if (e.scrollWidth > e.clientWidth + 2 && e.clientWidth > 0 && getComputedStyle(e).display !== "inline" && getComputedStyle(e).overflow !== "visible") out.push(`${e.tagName} "${e.textContent.slice(0, 40)}" is clipped`);
  }
  const top = document.getElementById("top");
  if (top && [...top.children].some((a) => [...top.children].some((b) => a !== b && a.offsetWidth && b.offsetWidth && a.getBoundingClientRect().right > b.getBoundingClientRect().left + 1 && a.getBoundingClientRect().left < b.getBoundingClientRect().left && Math.abs(a.getBoundingClientRect().top - b.getBoundingClientRect().top) < 20))) out.push("the top bar overlaps");
  if (/undefined|NaN|\[object/.test(document.body.innerText)) out.push("meaningless words: " + /.{0,30}(undefined|NaN|\[object).{0,20}/.exec(document.body.innerText)[0]);
  return out;
});
const mustBeClean = async (page) => { const l = await clean(page); must(!l.length, l.join("; ")); };

await check("without a session: 401 and the page to log in, in both languages", async () => {
  for (const lang of ["en", "zh"]) {
    const c = await context(lang, "light"), p = watch(await c.newPage());
    const r = await p.goto(base);
    must(r.status() === 401, "status " + r.status());
    await p.getByText(words(lang)("login.url")).waitFor({ timeout: 5000 });
    await c.close();
  }
});

const first = await context("en", "light"), page = watch(await first.newPage());
await check("the printed URL opens the page, with its mark SIMULATED", async () => {
  await page.goto(url);
  await page.locator("#top .mark", { hasText: words("en")("app.simulated") }).waitFor({ timeout: 10000 });
});
await check("readings come", async () => { await until("a reading of p1", async () => Number.isFinite(await reading(page, "p1"))); });
await check("a curve moves within 10 s of the page", async () => {
  const a = await until("ink", async () => { const k = await inked(page); return k.n > 60 && k; });
  await until("moved ink", async () => { const k = await inked(page); return k.n > 60 && k.at !== a.at; });
  console.log(`      ${((Date.now() - started) / 1000).toFixed(1)} s after the URL was printed`);
});
await check("C and b of the demonstration's valve within 2 minutes, with their uncertainty", async () => {
  const offered = (await first.request.get(base + "api/v1/methods")).ok();
  must(offered, "this service does not offer evaluation");
  const found = await until("figures", async () => {
    const l = await page.locator(".figs > div").allTextContents();
    return l.some((x) => /^C/.test(x) && /\d ± 0?\.\d/.test(x)) && l.some((x) => /^b/.test(x) && /\d ± 0?\.\d/.test(x)) && l;
  }, 120000 - (Date.now() - started));
  console.log(`      ${((Date.now() - started) / 1000).toFixed(0)} s after the URL was printed: ${found.join("; ")}`);
});
const state = await first.storageState();

/** picture keeps one view as it is seen. */
async function picture(p, name, hash, lang, scheme) {
  await check(`picture ${name} ${lang} ${scheme}`, async () => {
    await p.goto(base + hash);
    await p.reload();
    if (name === "probe") await p.locator("main form button.primary").click();
    if (name === "live") await p.locator(".figs").waitFor({ timeout: 10000 });
    if (name === "recording") {
      await p.getByRole("button", { name: words(lang)("rec.run"), exact: true }).click();
      await p.locator(".figures, .refusal").first().waitFor({ timeout: 20000 });
      await p.evaluate(() => scrollTo(0, 0));
    }
    await p.waitForTimeout(1500);
    await mustBeClean(p);
    await p.screenshot({ path: join(shots, `${name}-${lang}-${scheme}.png`), fullPage: true });
  });
}

if (pictures) { // while the first sweep runs, so that the curve that fits itself is seen
  mkdirSync(shots, { recursive: true });
  for (const lang of ["en", "zh"]) for (const scheme of ["light", "dark"]) {
    const c = await context(lang, scheme, state);
    await picture(watch(await c.newPage()), "live", "#/live", lang, scheme);
    await c.close();
  }
}

await check("three pages of a browser share one stream", async () => {
  const more = [watch(await first.newPage()), watch(await first.newPage())];
  let streams = 0;
  first.on("request", (r) => { if (r.url().includes("/api/v1/live")) streams++; });
  for (const p of more) { await p.goto(base); await until("a reading", async () => Number.isFinite(await reading(p, "p1"))); }
  const m = await (await first.request.get(base + "metrics")).text();
  const line = /^pneudaq_\w*streams\w*(?:\{[^}]*\})? (\d+)/m.exec(m);
  must(line, "no number of streams among the metrics");
  must(line[1] === "1", `${line[1]} streams for three pages`);
  must(streams === 0, `${streams} streams were opened by pages instead of the worker`);
  for (const p of more) await p.close();
});

for (const lang of ["en", "zh"]) {
  const t = words(lang);
  const c = await context(lang, lang === "en" ? "light" : "dark", state), p = watch(await c.newPage());
  await check(`${lang}: the live view has buses, channels, scopes and the badge`, async () => {
    await p.goto(base + "#/live");
    await until("readings", async () => Number.isFinite(await reading(p, "qm")));
    must(await p.locator("html").getAttribute("lang") === (lang === "zh" ? "zh-CN" : "en"), "language of the document");
    must(await p.locator(".bus.ok").count() >= 2, "buses that are up");
    must(await p.locator(".scope").count() >= 2, "scopes");
    await p.getByText(t("record.stored"), { exact: true }).first().waitFor();
    await mustBeClean(p);
  });
  await check(`${lang}: a recording stops and starts by clicks`, async () => {
    const go = p.locator(".record button");
    await until("the demonstration's own recording or none", async () => await go.count());
    if ((await go.textContent()) === t("record.start")) await until("a recording", async () => (await go.textContent()) === t("record.stop"), 12000).catch(() => {});
    if ((await go.textContent()) === t("record.stop")) {
      await go.click();
      await p.locator(".record b", { hasText: t("record.ended") }).waitFor({ timeout: 10000 });
    }
    await p.locator(".record button", { hasText: t("record.start") }).click();
    const d = p.locator("dialog");
    await d.locator("textarea").fill(note[lang]);
    await d.locator("button.primary").click();
    await p.locator(".record.on").waitFor({ timeout: 10000 });
    const stored = async () => parseInt((await p.locator(".stage b").first().textContent()).replace(/\D/g, "") || "0", 10);
    const a = await stored();
    await until("more slots recorded", async () => (await stored()) > a + 5);
  });
  await check(`${lang}: a scope is paused, its cursor reads, channels come and go`, async () => {
    const scope = p.locator(".scope").first();
    await scope.locator(".plot").focus();
    await p.keyboard.press("ArrowLeft");
    await until("the time at the cursor", async () => /\d\d:\d\d:\d\d\.\d/.test(await scope.locator(".stamp").first().textContent()));
    await p.keyboard.press("Space");
    await scope.locator(`button[aria-label="${t("scope.resume")}"]`).click();
    const n = await scope.locator(".chip").count();
    await scope.locator("select.adder").focus();
    await scope.locator("select.adder").selectOption({ label: "T1" }, { timeout: 3000 });
    must(await scope.locator(".chip").count() === n + 1, "one channel more");
    await scope.locator(`button[aria-label="${t("scope.remove", "flow-bench/T1")}"]`).click();
    must(await scope.locator(".chip").count() === n, "one channel less");
  });
  await check(`${lang}: recordings are listed, one opens with curves and a balanced ledger`, async () => {
    await open(p, "#/recordings");
    await until("two recordings", async () => (await p.locator("tbody tr").count()) >= 2);
    await p.locator("input[type=search]").fill(note[lang]);
    await until("one that matches", async () => (await p.locator("tbody tr").count()) === 1);
    await p.locator("tbody tr a").first().click();
    await p.locator(".balance.ok").waitFor({ timeout: 10000 });
    await until("single readings", async () => (await p.locator(".stamp").allTextContents()).includes(t("rec.raw")));
    await mustBeClean(p);
  });
  await check(`${lang}: zoom reads again, from the overview to single readings`, async () => {
    const asked = p.waitForRequest((r) => /\/recordings\/[^/]+\/data/.test(r.url()));
    await p.locator(`button[aria-label="${t("rec.zoomIn")}"]`).click();
    must(/points=\d+/.test((await asked).url()), "points are asked for");
    await p.locator(`button[aria-label="${t("rec.back")}"]`).click();
  });
  await check(`${lang}: two recordings are laid over each other`, async () => {
    await open(p, "#/recordings");
    await until("two", async () => (await p.locator("tbody input[type=checkbox]").count()) >= 2);
    for (const i of [0, 1]) await p.locator("tbody input[type=checkbox]").nth(i).check();
    await p.getByRole("button", { name: t("rec.compare") }).click();
    await until("two curves", async () => (await p.locator(".chip").count()) === 2);
    await mustBeClean(p);
  });
  await check(`${lang}: a wrong rig file gets its message at the line, a wrong cell in the table`, async () => {
    await open(p, "#/setup");
    const box = p.locator(".editor textarea");
    await box.waitFor({ timeout: 10000 });
    const text = await box.inputValue();
    await until("no problems", async () => (await p.locator(".messages li.bad").count()) === 0 && (await p.getByText(t("setup.clean")).count()) > 0);
    await box.fill(text.replace("unit: kPa_a", "unit: kPax"));
    await p.locator(".messages code", { hasText: /PD\d{4}/ }).first().waitFor({ timeout: 10000 });
    must(await p.locator(".gutter .error").count() === 1, "one line is marked");
    await p.getByRole("tab", { name: t("setup.channels") }).click();
    await p.locator("td.wrong .cell-wrong").first().waitFor({ timeout: 5000 });
    await p.getByRole("button", { name: t("setup.revert") }).click();
    await until("clean again", async () => (await p.locator("td.wrong").count()) === 0);
    const cell = p.getByLabel(t("setup.cell", t("setup.unit"), "p1"), { exact: true });
    await cell.fill("nonsense");
    await cell.press("Enter");
    await p.locator("td.wrong").first().waitFor({ timeout: 5000 });
    await p.getByRole("button", { name: t("setup.revert") }).click();
    await until("clean again", async () => (await p.locator("td.wrong").count()) === 0);
    await mustBeClean(p);
  });
  await check(`${lang}: probe and topics say what there is`, async () => {
    await open(p, "#/setup/flow-bench/probe");
    await p.getByRole("button", { name: t("setup.probeRun"), exact: true }).click();
    await until("an answer, or that probing is not offered", async () => (await p.getByText(t("setup.noProbe")).count()) || (await p.locator(".decodings").count()) || (await p.getByText(t("setup.noUnit")).count()) || (await p.locator(".notice").count()), 20000);
    must(!(await p.locator(".notice").count()), "the probe was refused: " + (await p.locator(".notice").allTextContents()).join(" "));
    await open(p, "#/setup/flow-bench/topics");
    await p.getByText(t("setup.noTopics")).or(p.locator(".topic").first()).first().waitFor({ timeout: 10000 });
  });
  await check(`${lang}: health shows store, clock, buses with round trips and the log`, async () => {
    await open(p, "#/health");
    await p.locator("svg.histogram").first().waitFor({ timeout: 10000 });
    for (const k of ["health.store", "health.clock", "health.forwarders", "health.events"]) await p.getByText(t(k), { exact: true }).first().waitFor();
    await until("events or none", async () => (await p.locator(".log tbody tr").count()) || (await p.getByText(t("health.noEvents")).count()));
    await mustBeClean(p);
  });
  await check(`${lang}: a bus is unplugged: the gap is drawn, counted and explained, then it mends`, async () => {
    await open(p, "#/demo");
    const one = p.locator('button[data-fault="flow-bench:unplug:line"]');
    await one.waitFor({ timeout: 10000 });
    if (!(await p.locator(".record.on").count())) { await p.locator(".record button").click(); await p.locator("dialog button.primary").click(); }
    await p.locator(".record.on").waitFor();
    await one.click();
    await until("the button is on", async () => (await one.getAttribute("aria-pressed")) === "true");
    await until("the loss is counted with a reason", async () => (await p.locator(".reasons li").count()) > 0 && (await p.locator(".reasons").isVisible()), 15000);
    await until("the gap is listed", async () => (await p.getByText(t("reason.unreachable")).count()) > 0, 15000);
    await p.locator(".messages code", { hasText: "PD3101" }).waitFor({ timeout: 10000 });
    await one.click();
    await until("no longer a problem", async () => (await p.locator(".messages code", { hasText: "PD3101" }).count()) === 0, 20000);
    must((await p.locator(".stage.bad").count()) === 0, "slots are missing without a reason");
    await mustBeClean(p);
  });
  if (lang === "en") await check("each fault goes on and off by its button", async () => {
    const names = await p.locator(".fault").evaluateAll((l) => l.map((e) => [e.dataset.fault, e.getAttribute("aria-pressed") !== null]));
    must(names.length >= 8, "faults");
    for (const [name, toggles] of names) {
      const b = p.locator(`button[data-fault="${name}"]`);
      await b.click();
      if (!toggles) continue;
      await until(name + " on", async () => (await b.getAttribute("aria-pressed")) === "true", 5000);
      await b.click();
      await until(name + " off", async () => (await b.getAttribute("aria-pressed")) === "false", 5000);
    }
    must((await p.locator(".notice").count()) === 0, "a fault was refused: " + (await p.locator(".notice").allTextContents()).join(" "));
  });
  await check(`${lang}: the other language and the other scheme are one click away`, async () => {
    const was = await p.locator("html").getAttribute("data-scheme");
    await p.locator(`button[aria-label="${t(was === "dark" ? "app.toLight" : "app.toDark")}"]`).click();
    must((await p.locator("html").getAttribute("data-scheme")) !== was, "scheme");
    await p.getByRole("button", { name: lang === "en" ? "中文" : "English", exact: true }).click();
    await p.locator("#top nav a", { hasText: words(lang === "en" ? "zh" : "en")("nav.live") }).waitFor({ timeout: 5000 });
  });
  await c.close();
}

await check("narrow windows: nothing runs out of the page", async () => {
  const c = await browser.newContext({ viewport: { width: 390, height: 800 }, storageState: state }), p = watch(await c.newPage());
  for (const hash of ["#/live", "#/recordings", "#/setup", "#/health", "#/demo"]) {
    await p.goto(base + hash);
    await p.waitForTimeout(700);
    const wide = await p.evaluate(() => document.documentElement.scrollWidth);
    must(wide <= 391, `${hash} is ${wide} wide in a window of 390`);
  }
  await c.close();
});

if (pictures) {
  mkdirSync(shots, { recursive: true });
  await page.waitForTimeout(20000); // let the sweep go on, so that there is something to see
  const list = (await (await first.request.get(base + "api/v1/recordings")).json()).recordings;
  const long = (r) => Date.parse(r.stop) - Date.parse(r.start);
  const ended = list.filter((r) => r.stop).sort((a, b) => long(b) - long(a))[0] || list[0];
  const views = { recordings: "#/recordings", recording: "#/recordings/" + ended.id, rigfile: "#/setup", channels: "#/setup/flow-bench/channels", probe: "#/setup/flow-bench/probe", health: "#/health", demo: "#/demo" };
  for (const lang of ["en", "zh"]) for (const scheme of ["light", "dark"]) {
    const c = await context(lang, scheme, state), p = watch(await c.newPage());
    for (const [name, hash] of Object.entries(views)) await picture(p, name, hash, lang, scheme);
    await c.close();
  }
}

await check("the page keeps no more than it may: the heap does not grow", async () => {
  await page.bringToFront();
  await open(page, "#/live");
  const cdp = await first.newCDPSession(page);
  const heap = async () => { await cdp.send("HeapProfiler.collectGarbage"); return (await cdp.send("Runtime.getHeapUsage")).usedSize / 1e6; };
  await page.waitForTimeout(3000);
  const a = await heap();
  await page.waitForTimeout(15000);
  const b = await heap();
  console.log(`      ${a.toFixed(2)} MB, 15 s later ${b.toFixed(2)} MB`);
  must(b - a < 1.5, `${(b - a).toFixed(2)} MB more within 15 s`);
});

await check("the service ends: the page says so", async () => {
  demo.kill("SIGTERM");
  await page.getByText(words("en")("app.disconnected")).waitFor({ timeout: 15000 });
  await Promise.race([gone, new Promise((_, no) => setTimeout(() => no(new Error("the service did not end within 15 s")), 15000))]);
});
await check("nothing was complained of on the console, nor by the content security policy", async () => { must(!complaints.length, [...new Set(complaints)].slice(0, 5).join("\n      ")); });

await browser.close();
demo.kill("SIGKILL");
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

// The shared worker: one stream for all pages of a browser, whatever their
// number; HTTP/1.1 allows six connections to a host.
import { Memory, Stream } from "./stream.js";

const silence = 150000; // a page in the background says something at least once a minute
const ports = new Map();
const memory = new Memory();
const lang = new URL(self.location.href).searchParams.get("lang") || "en";
const stream = new Stream(lang, (kind, data) => {
  memory.note(kind, data);
  for (const port of ports.keys()) port.postMessage({ kind, data });
});

function want() {
  if (!ports.size) { stream.close(); return; }
  const all = [];
  for (const p of ports.values()) all.push(...p.channels);
  stream.want(all);
}

self.addEventListener("connect", (e) => {
  const port = e.ports[0];
  ports.set(port, { channels: [], heard: Date.now() });
  port.addEventListener("message", (m) => {
    const p = ports.get(port) || { channels: [], heard: 0 };
    p.heard = Date.now();
    if (m.data.kind === "bye") { ports.delete(port); want(); return; }
    const fresh = !ports.has(port);
    ports.set(port, p);
    if (m.data.kind === "want") { p.channels = m.data.channels; want(); }
    else if (fresh) want();
  });
  port.start();
  memory.replay((kind, data) => port.postMessage({ kind, data }));
});

setInterval(() => {
  let gone = false;
  for (const [port, p] of ports) if (Date.now() - p.heard > silence) { ports.delete(port); gone = true; }
  if (gone) want();
}, 30000);

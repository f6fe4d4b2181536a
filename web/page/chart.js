// Curves over time: uPlot with a time axis in the service's zone, gaps and
// events where they were, and minimum and maximum where a pixel has many
// readings.
import { clock, day, figure, reason, t, zoneOffset } from "./text.js";

const palettes = {
  light: ["#0b6e8a", "#c2410c", "#4d7c0f", "#7e3fb2", "#b45309", "#be185d", "#1d4ed8", "#57534e"],
  dark: ["#4cc4e0", "#fb923c", "#a3d65c", "#c39bf0", "#facc5a", "#f472b6", "#7fb0ff", "#b8b2a9"],
};

/** colour of the i-th curve in the scheme of now. */
export function colour(i) {
  const p = palettes[document.documentElement.dataset.scheme] || palettes.light;
  return p[i % p.length];
}

/** style reads a colour of the style sheet. */
export function style(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const incrs = [...steps, ...[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000].map((s) => s * 1000)];

/** Column collects the points of one curve. */
class Column {
  constructor() { this.x = []; this.y = []; this.n = 0; }
  clear() { this.n = 0; }
  point(x, y) { this.x[this.n] = x; this.y[this.n++] = y; }
  /** pair adds the least and greatest reading of a stretch as one stroke. */
  pair(x, min, max) {
    if (!(min <= max)) { this.point(x, null); return; }
    if (min === max) { this.point(x, min); return; }
    const last = this.n ? this.y[this.n - 1] : null;
    const up = last === null || Math.abs(last - min) <= Math.abs(last - max);
    this.point(x, up ? min : max);
    this.point(x + 0.002, up ? max : min);
  }
}

/** columnOf writes a series of /data into a column, broken where there are gaps. */
export function columnOf(c, series, gaps) {
  c.clear();
  let g = 0;
  const raw = series.raw, n = series.t.length;
  for (let i = 0; i < n; i++) {
    const x = series.t[i];
    while (g < gaps.length && gaps[g].from < x) {
      if (c.n && gaps[g].to > c.x[c.n - 1]) c.point(Math.max(gaps[g].from, c.x[c.n - 1] + 0.001), null);
      g++;
    }
    if (raw) c.pair(x, series.v[i], series.v[i]); else c.pair(x, series.min[i], series.max[i]);
  }
  return c;
}

/** newColumn makes an empty one. */
export function newColumn() { return new Column(); }

/** align merges columns into uPlot's common x; undefined is no break, null is. */
function align(columns, out) {
  const k = columns.length;
  const at = new Array(k).fill(0);
  let n = 0;
  for (;;) {
    let x = Infinity;
    for (let j = 0; j < k; j++) if (at[j] < columns[j].n && columns[j].x[at[j]] < x) x = columns[j].x[at[j]];
    if (x === Infinity) break;
    out[0][n] = x;
    for (let j = 0; j < k; j++) {
      const c = columns[j];
      if (at[j] < c.n && c.x[at[j]] === x) {
        out[j + 1][n] = c.y[at[j]];
        do at[j]++; while (at[j] < c.n && c.x[at[j]] === x);
      } else out[j + 1][n] = undefined;
    }
    n++;
  }
  for (const a of out) a.length = n;
  return out;
}

/** Chart is one plot. */
export class Chart {
  /**
   * o: series [{key, label, unit, colour, digits}], height, sync, zoom(from, to) or null,
   * cursor(x, values) told as the cursor moves (x null: it left), relative (x is ms from a start).
   */
  constructor(host, o) {
    this.host = host;
    this.o = o;
    this.columns = o.series.map(() => new Column());
    this.data = [[], ...o.series.map(() => [])];
    this.gaps = [];
    this.events = [];
    this.range = [Date.now() - 30000, Date.now()];
    this.build();
    this.resize = new ResizeObserver(() => {
      const w = this.width();
      if (w > 50 && w !== this.plot.width) this.plot.setSize({ width: w, height: o.height });
    });
    this.resize.observe(host);
    this.scheme = () => { this.plot.destroy(); this.build(); this.draw(); };
    addEventListener("scheme", this.scheme);
  }

  width() { return Math.max(200, Math.floor(this.host.clientWidth)); }

  close() {
    this.resize.disconnect();
    removeEventListener("scheme", this.scheme);
    this.plot.destroy();
  }

  build() {
    const o = this.o, font = "11px " + style("--font"), ink = style("--ink-2"), grid = style("--grid");
    const units = [...new Set(o.series.map((x) => x.unit || ""))];
    const scales = { x: { time: false, range: () => this.range } };
    units.forEach((u, i) => { scales["y" + i] = { range: (_, a, b) => padded(a, b) }; });
    const axes = [{
      font, stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, size: 4 }, size: 26, gap: 3, space: 90, incrs,
      splits: (u, axis, min, max, incr) => this.splits(min, max, incr),
      values: (u, splits, axis, space, incr) => this.labels(splits, incr),
    }];
    units.slice(0, 4).forEach((u, i) => axes.push({
      scale: "y" + i, side: i % 2 ? 1 : 3, font, stroke: units.length > 1 ? this.unitColour(u) : ink,
      grid: { show: i === 0, stroke: grid, width: 1 }, ticks: { stroke: grid, size: 4 }, gap: 4, space: 28,
      label: u || null, labelSize: u ? 15 : 0, labelGap: 0, labelFont: font,
      size: (_, values) => 12 + 6.4 * Math.max(5, ...(values || []).map((v) => String(v).length)),
      values: (_, splits) => splits.map((v) => axisFigure(v, splits)),
    }));
    const series = [{}];
    o.series.forEach((x) => series.push({
      label: x.label, scale: "y" + units.indexOf(x.unit || ""), stroke: x.colour === undefined ? ink : colour(x.colour), width: 1.4,
      points: { show: (u, i) => this.sparse(i), size: 4 },
    }));
    this.plot = new globalThis.uPlot({
      width: this.width(), height: o.height, ms: 1, pxAlign: 0, scales, axes, series, legend: { show: false },
      padding: [8, units.length > 1 ? 4 : 30, 0, 4],
      cursor: {
        sync: o.sync ? { key: o.sync, setSeries: false } : undefined,
        drag: { x: Boolean(o.zoom), y: false, setScale: false, dist: 5 },
        points: { size: 7 }, y: false,
        bind: { dblclick: () => () => { if (o.whole) o.whole(); } },
      },
      hooks: {
        drawClear: [(u) => this.under(u)],
        draw: [(u) => this.over(u)],
        setCursor: [(u) => this.moved(u)],
        setSelect: [(u) => {
          if (u.select.width < 5 || !o.zoom) return;
          const a = u.posToVal(u.select.left, "x"), b = u.posToVal(u.select.left + u.select.width, "x");
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          o.zoom(a, b);
        }],
      },
    }, this.data, this.host);
  }

  unitColour(u) {
    const of = this.o.series.filter((x) => (x.unit || "") === u);
    return of.length === 1 ? colour(of[0].colour) : style("--ink-2");
  }

  /** sparse: single readings get points only where there is room for them. */
  sparse(i) {
    return this.columns[i - 1] !== undefined && this.columns[i - 1].n < this.plot.width / 30;
  }

  splits(min, max, incr) {
    const off = this.o.relative ? 0 : zoneOffset(min);
    const out = [];
    for (let x = Math.ceil((min + off) / incr) * incr - off; x <= max; x += incr) out.push(x);
    return out;
  }

  labels(splits, incr) {
    if (this.o.relative) return splits.map((x) => figure(x / 1000, 6) + " s");
    let before = "";
    return splits.map((x) => {
      if (incr >= 86400000) return day(x);
      const d = day(x), c = incr >= 60000 ? clock(x).slice(0, 5) : clock(x, incr >= 1000 ? 0 : incr >= 100 ? 1 : incr >= 10 ? 2 : 3);
      const out = before && before !== d ? d.slice(5) + " " + c : c;
      before = d;
      return out;
    });
  }

  /** set shows the columns, which the caller has filled, over a range. */
  set(from, to, gaps, events) {
    this.range = [from, to];
    this.gaps = gaps;
    this.events = events;
    this.draw();
  }

  draw() {
    align(this.columns, this.data);
    this.plot.setData(this.data, true);
  }

  moved(u) {
    if (!this.o.cursor) return;
    const left = u.cursor.left;
    if (left === null || left === undefined || left < 0) { this.o.cursor(null); return; }
    const x = u.posToVal(left, "x");
    this.o.cursor(x, this.columns.map((c) => nearest(c, x)), this.near(u, left));
  }

  near(u, left) {
    const found = [];
    for (const e of this.events) if (Math.abs(u.valToPos(e.t, "x") - left) < 6) found.push(e);
    const x = u.posToVal(left, "x");
    for (const g of this.gaps) if (x >= g.from && x <= g.to) found.push(g);
    return found;
  }

  /** key moves the cursor with the arrow keys. */
  key(e) {
    const u = this.plot, w = u.over.clientWidth;
    if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return false;
    const at = u.cursor.left >= 0 ? u.cursor.left : w / 2;
    const step = e.shiftKey ? w / 20 : Math.max(1, w / 400);
    u.setCursor({ left: Math.min(w, Math.max(0, at + (e.key === "ArrowLeft" ? -step : step))), top: 10 });
    e.preventDefault();
    return true;
  }

  under(u) {
    const { ctx, bbox } = u, ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const soft = style("--gap"), line = style("--gap-line");
    let labelled = -Infinity;
    for (const g of merged(this.gaps)) {
      if (g.to < this.range[0] || g.from > this.range[1]) continue;
      const a = Math.max(bbox.left, u.valToPos(g.from, "x", true)), b = Math.min(bbox.left + bbox.width, u.valToPos(g.to, "x", true));
      const w = Math.max(2 * ratio, b - a);
      ctx.fillStyle = soft;
      ctx.fillRect(a, bbox.top, w, bbox.height);
      ctx.strokeStyle = line;
      ctx.lineWidth = ratio;
      ctx.beginPath();
      for (let x = a - bbox.height; x < a + w; x += 8 * ratio) {
        const x0 = Math.max(x, a), x1 = Math.min(x + bbox.height, a + w);
        if (x1 > x0) { ctx.moveTo(x0, bbox.top + bbox.height - (x0 - x)); ctx.lineTo(x1, bbox.top + bbox.height - (x1 - x)); }
      }
      ctx.stroke();
      const words = t("gap.short", reason(g.reason));
      ctx.font = 11 * ratio + "px " + style("--font");
      const room = ctx.measureText(words).width + 8 * ratio;
      if (w > room && a > labelled) {
        ctx.fillStyle = style("--surface");
        ctx.fillRect(a + 2 * ratio, bbox.top + 2 * ratio, room, 16 * ratio);
        ctx.fillStyle = style("--bad");
        ctx.textBaseline = "middle";
        ctx.fillText(words, a + 6 * ratio, bbox.top + 10 * ratio);
        labelled = a + room;
      }
    }
    ctx.restore();
  }

  over(u) {
    const { ctx, bbox } = u, ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = style("--accent");
    ctx.lineWidth = ratio;
    for (const e of this.events) {
      if (e.t < this.range[0] || e.t > this.range[1]) continue;
      const x = u.valToPos(e.t, "x", true);
      ctx.setLineDash([3 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x - 4 * ratio, bbox.top);
      ctx.lineTo(x + 4 * ratio, bbox.top);
      ctx.lineTo(x, bbox.top + 6 * ratio);
      ctx.fill();
    }
    ctx.restore();
  }
}

/** merged joins gaps of several groups where they overlap; the longest gives the reason. */
function merged(gaps) {
  const out = [];
  for (const g of gaps) {
    const last = out[out.length - 1];
    if (last && g.from <= last.to) {
      if (g.to - g.from > last.longest) { last.longest = g.to - g.from; last.reason = g.reason; }
      last.to = Math.max(last.to, g.to);
    } else out.push({ from: g.from, to: g.to, reason: g.reason, longest: g.to - g.from });
  }
  return out;
}

/** nearest gives the reading next to x: the last one at or before it, if it is no gap. */
function nearest(c, x) {
  let a = 0, b = c.n;
  while (a < b) { const m = (a + b) >> 1; if (c.x[m] > x) b = m; else a = m + 1; }
  if (a === 0) return c.n && c.x[0] - x < 1000 ? c.y[0] : null;
  if (a < c.n && c.x[a] - x < x - c.x[a - 1] && c.y[a] !== null) return c.y[a];
  return a === c.n && x - c.x[a - 1] > 10000 ? null : c.y[a - 1];
}

function padded(a, b) {
  if (a === null || b === null || a === undefined || b === undefined || !Number.isFinite(a) || !Number.isFinite(b)) return [0, 1];
  const mid = (a + b) / 2, least = Math.max(Math.abs(mid) * 2e-4, 1e-9);
  const half = Math.max((b - a) / 2, least / 2) * 1.12;
  return [mid - half, mid + half];
}

function axisFigure(v, splits) {
  const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : Math.abs(v) || 1;
  if (step >= 1e6 || step < 1e-7) return v.toExponential(2);
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return v.toFixed(Math.min(8, places)).replace("-", "\u2212");
}

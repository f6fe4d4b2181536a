// The channels of a rig file as rows, and back: a cell changes only its own
// words in the text, comments and order stay.

/** addressKeys are the keys that say where a channel is read. */
export const addressKeys = ["holding", "input", "coil", "discrete", "topic", "json", "field", "register"];

/** columns of the table, as keys of the file; name and address are not keys. */
export const columns = ["name", "group", "device", "address", "type", "order", "scale", "offset", "unit", "range", "accuracy"];

/** splitFlow cuts what is between { and } at its commas; each part keeps its place. */
function splitFlow(text, from, to) {
  const parts = [];
  let depth = 0, quote = "", start = from;
  for (let i = from; i <= to; i++) {
    const c = text[i];
    if (i === to || c === "," && !depth && !quote) { parts.push([start, i]); start = i + 1; continue; }
    if (quote) { if (c === "\\" && quote === '"') i++; else if (c === quote) quote = ""; continue; }
    if (c === '"' || c === "'") quote = c; else if (c === "[" || c === "{") depth++; else if (c === "]" || c === "}") depth--;
  }
  return parts;
}

function closing(text, open) {
  let depth = 0, quote = "";
  for (let i = open; i < text.length; i++) {
    const c = text[i];
    if (quote) { if (c === "\\" && quote === '"') i++; else if (c === quote) quote = ""; continue; }
    if (c === '"' || c === "'") quote = c; else if (c === "[" || c === "{") depth++; else if ((c === "]" || c === "}") && --depth === 0) return i;
  }
  return -1;
}

function plain(v) {
  const m = /^"((?:[^"\\]|\\.)*)"$|^'((?:[^']|'')*)'$/.exec(v);
  if (!m) return v;
  if (m[1] !== undefined) { try { return JSON.parse(v); } catch { return m[1]; } }
  return m[2].replaceAll("''", "'");
}

/** scalar writes a cell as YAML. */
function scalar(v) {
  if (/^\[[^\]{}]*\]$/.test(v)) return v;
  if (v === "" || /^[\s%@*&!|>'"`#{}[\],?:-]/.test(v) && !/^-?[\d.]/.test(v) || /[,{}[\]#]|: |:$|\s$/.test(v)) return JSON.stringify(v);
  return v;
}

/** parse finds the rows: {name, line, end, pairs: Map(key -> {value, line, from, to}), flow}. */
export function parse(text) {
  const lines = text.split("\n");
  const rows = [];
  let i = lines.findIndex((l) => /^channels:\s*(#.*)?$/.test(l));
  if (i < 0) return { lines, rows, end: -1 };
  const first = ++i;
  let end = first, indent = -1;
  for (; i < lines.length; i++) {
    const l = lines[i];
    if (/^\s*(#|$)/.test(l)) continue;
    const own = /^ */.exec(l)[0].length;
    if (own === 0) break;
    if (indent < 0) indent = own;
    end = i + 1;
    if (own !== indent) continue;
    const m = /^( *)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s:#][^:]*):(\s*)(.*)$/.exec(l);
    if (!m) continue;
    const row = { name: plain(m[2]), rawName: m[2], line: i, end: i, pairs: new Map(), flow: null, indent };
    const at = m[1].length + m[2].length + 1 + m[3].length;
    if (m[4].startsWith("{")) {
      const close = closing(l, at);
      if (close < 0) continue; // over several lines: left to the text
      row.flow = [at, close];
      for (const [a, b] of splitFlow(l, at + 1, close)) {
        const p = /^(\s*)([^\s:]+):\s+(.*?)\s*$/.exec(l.slice(a, b));
        if (p) row.pairs.set(p[2], { raw: p[3], value: plain(p[3]), line: i, from: a + p[1].length, to: b });
      }
    } else {
      for (let j = i + 1; j < lines.length; j++) {
        if (/^\s*(#|$)/.test(lines[j])) continue;
        const deep = /^ */.exec(lines[j])[0].length;
        if (deep <= indent) break;
        row.end = j;
        row.deep ??= deep;
        const p = /^( *)([^\s:]+):\s+(.*?)(\s+#.*)?$/.exec(lines[j]);
        if (p && p[1].length === row.deep) row.pairs.set(p[2], { raw: p[3], value: plain(p[3]), line: j, from: p[1].length, to: lines[j].length });
      }
    }
    rows.push(row);
  }
  return { lines, rows, end, indent: indent < 0 ? 2 : indent };
}

/** cell reads one cell of a row. */
export function cell(row, column) {
  if (column === "name") return row.name;
  if (column === "address") {
    const k = addressKeys.find((x) => row.pairs.has(x));
    return k ? `${k} ${row.pairs.get(k).value}` : "";
  }
  const p = row.pairs.get(column);
  return p ? p.value : "";
}

/** others are the keys of a row that no column shows. */
export function others(row) {
  return [...row.pairs].filter(([k]) => !columns.includes(k) && !addressKeys.includes(k)).map(([k, p]) => `${k}: ${p.raw}`).join(", ");
}

/** change writes one cell and returns the new text. */
export function change(text, name, column, value) {
  const doc = parse(text), row = doc.rows.find((r) => r.name === name);
  value = value.trim();
  if (!row) return text;
  if (column === "name") {
    if (!value || value === row.name) return text;
    doc.lines[row.line] = " ".repeat(row.indent) + scalar(value) + doc.lines[row.line].slice(row.indent + row.rawName.length);
    return doc.lines.join("\n");
  }
  let key = column, old = column;
  if (column === "address") {
    old = addressKeys.find((k) => row.pairs.has(k)) || "";
    const m = /^([a-z_]+)\s*[:\s]\s*(.+)$/.exec(value);
    if (value && !m) key = old || "holding"; else if (m) [, key, value] = m;
  }
  const p = row.pairs.get(old);
  const words = value === "" ? "" : `${key}: ${scalar(value)}`;
  if (row.flow) {
    const l = doc.lines[row.line];
    if (p) {
      if (words) doc.lines[row.line] = l.slice(0, p.from) + words + (p.to === row.flow[1] ? " " : "") + l.slice(p.to);
      else {
        const inner = splitFlow(l, row.flow[0] + 1, row.flow[1]).filter(([, b]) => b !== p.to).map(([a, b]) => l.slice(a, b).trim()).filter(Boolean).join(", ");
        doc.lines[row.line] = l.slice(0, row.flow[0]) + `{ ${inner} }` + l.slice(row.flow[1] + 1);
      }
    } else if (words) {
      const inner = l.slice(row.flow[0] + 1, row.flow[1]).trim();
      doc.lines[row.line] = l.slice(0, row.flow[0]) + `{ ${inner ? inner + ", " : ""}${words} }` + l.slice(row.flow[1] + 1);
    }
  } else if (p) {
    if (words) doc.lines[p.line] = " ".repeat(row.deep) + words + (/\s+#.*$/.exec(doc.lines[p.line].slice(p.from + p.raw.length))?.[0] || "");
    else doc.lines.splice(p.line, 1);
  } else if (words) doc.lines.splice(row.end + 1, 0, " ".repeat(row.deep || row.indent + 2) + words);
  return doc.lines.join("\n");
}

/** append adds a channel at the end and returns the new text. */
export function append(text, name) {
  const doc = parse(text);
  if (doc.end < 0) return text + (text.endsWith("\n") ? "" : "\n") + `\nchannels:\n  ${scalar(name)}: { }\n`;
  const at = doc.rows.length ? doc.rows[doc.rows.length - 1].end + 1 : doc.end;
  doc.lines.splice(at, 0, " ".repeat(doc.indent) + `${scalar(name)}: { }`);
  return doc.lines.join("\n");
}

/** locate finds the cell of a message: {name, column}, or null. */
export function locate(doc, line, column) {
  const row = doc.rows.find((r) => line - 1 >= r.line && line - 1 <= r.end);
  if (!row) return null;
  for (const [k, p] of row.pairs) {
    if (p.line === line - 1 && column - 1 >= p.from && column - 1 < p.to) return { name: row.name, column: addressKeys.includes(k) ? "address" : columns.includes(k) ? k : "others" };
  }
  return { name: row.name, column: "name" };
}

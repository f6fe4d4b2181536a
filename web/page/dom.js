// Elements are built, never parsed: names come from files that people write.

/** h makes an element: h("div.card", {title: "x", onclick: f}, child, ...). */
export function h(tag, props, ...kids) {
  const [name, ...classes] = tag.split(".");
  const e = document.createElement(name);
  if (classes.length) e.className = classes.join(" ");
  return fill(e, props, kids);
}

/** s is h for SVG. */
export function s(tag, props, ...kids) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, kids);
}

function fill(e, props, kids) {
  for (const [k, v] of Object.entries(props || {})) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k === "value" || k === "checked" || k === "disabled" || k === "selected") e[k] = v;
    else if (k === "data") Object.assign(e.dataset, v);
    else e.setAttribute(k, v === true ? "" : v);
  }
  add(e, kids);
  return e;
}

/** add appends children; null and false are left out, lists are flattened. */
export function add(e, kids) {
  for (const k of kids) {
    if (k === null || k === undefined || k === false) continue;
    if (Array.isArray(k)) add(e, k);
    else e.append(k);
  }
  return e;
}

/** put replaces what is in an element. */
export function put(e, ...kids) {
  e.replaceChildren();
  return add(e, kids);
}

/** text sets the text if it is another. */
export function text(e, v) {
  if (e.textContent !== v) e.textContent = v;
}

const paths = {
  pause: "M6 4v12M13 4v12", play: "M6 4l10 6-10 6z", close: "M5 5l10 10M15 5L5 15", plus: "M10 4v12M4 10h12",
  up: "M5 12l5-5 5 5", down: "M5 8l5 5 5-5", whole: "M3 10h14M6 6l-4 4 4 4M14 6l4 4-4 4", back: "M8 5l-5 5 5 5M3 10h14",
  sun: "M10 6a4 4 0 100 8 4 4 0 000-8M10 1v2M10 17v2M1 10h2M17 10h2M3.6 3.6l1.4 1.4M15 15l1.4 1.4M3.6 16.4L5 15M15 5l1.4-1.4",
  moon: "M16 12a7 7 0 11-8-9 6 6 0 008 9z", zoomin: "M9 3a6 6 0 100 12A6 6 0 009 3M13.5 13.5L18 18M9 6v6M6 9h6",
  zoomout: "M9 3a6 6 0 100 12A6 6 0 009 3M13.5 13.5L18 18M6 9h6", left: "M12 5l-5 5 5 5", right: "M8 5l5 5-5 5", save: "M10 3v9M6 9l4 4 4-4M4 16h12",
};

/** icon draws a small picture; the button that holds it carries the words. */
export function icon(name) {
  return s("svg", { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true" }, s("path", { d: paths[name] }));
}

/** button makes a button with words. */
export function button(words, onclick, props = {}) {
  return h("button", { type: "button", onclick, ...props }, words);
}

/** iconButton makes a button that shows a picture and carries the words. */
export function iconButton(name, words, onclick, props = {}) {
  return h("button.icon-button", { type: "button", title: words, "aria-label": words, onclick, ...props }, icon(name));
}

/** select makes a list to choose from; options are [value, words]. */
export function select(label, options, value, onchange, props = {}) {
  const e = h("select", { "aria-label": label, onchange: () => onchange(e.value), ...props },
    options.map(([v, words]) => h("option", { value: v, selected: String(v) === String(value) }, words)));
  return e;
}

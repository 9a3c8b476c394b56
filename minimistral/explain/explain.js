"use strict";

// ---- what was taken from the run ------------------------------------------------------------------------------------

const run = JSON.parse(document.getElementById("run").textContent);
const T = run.tokens.length,
  L = run.windows.length;
const STEPS = 255;
const bytes = Uint8Array.from(atob(run.weights), c => c.charCodeAt(0));
const state = { t: 0, l: 0, h: 0 }; // token, and which of the kept layers and heads
const group = run.heads_of_model / run.kv_heads; // query heads that share one key/value head

const $$ = id => document.getElementById(id);
const layer = () => run.layers[state.l];
const head = () => run.heads[state.h];
const first = (t, window) => (window ? Math.max(0, t - window + 1) : 0); // the oldest key that query t sees
const pairs = (t, window) =>
  !window || t <= window ? (t * (t + 1)) / 2 : (window * (window + 1)) / 2 + (t - window) * window;

const starts = []; // where each kept layer's weights begin
run.layers.reduce((at, i) => {
  starts.push(at);
  return at + run.heads.length * pairs(T, run.windows[i]);
}, 0);

/** The bytes of one query's row: the square roots of its shares, from the oldest key that it sees to itself. */
function row(l, h, t) {
  const window = run.windows[run.layers[l]];
  const at = starts[l] + h * pairs(T, window) + pairs(t, window);
  return { from: first(t, window), roots: bytes.subarray(at, at + t - first(t, window) + 1) };
}
const share = root => (root / STEPS) ** 2;

/** Share of key s in the chosen layer and head, null where it is not seen. */
function looks(t, s) {
  const { from, roots } = row(state.l, state.h, t);
  return s < from || s > t ? null : share(roots[s - from]);
}

/** All keys of the chosen token, most looked at first: [position, share]. */
function ranked() {
  const { from, roots } = row(state.l, state.h, state.t);
  return Array.from(roots, (root, i) => [from + i, share(root)]).sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}

// ---- words ----------------------------------------------------------------------------------------------------------

function percent(p) {
  const number = p >= 0.0995 ? (100 * p).toFixed(0) : p >= 0.0005 ? (100 * p).toFixed(1) : "< 0.1";
  return `${number} %`.replaceAll(" ", "\u00a0");
}
const plural = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;
const nth = n => n + (n % 100 > 10 && n % 100 < 14 ? "th" : ["th", "st", "nd", "rd"][n % 10] || "th");

/** What a token is called on this page: the characters that it completes, else its piece. */
const textOf = t => run.tokens[t].text || run.tokens[t].piece;
const inWords = text => `“${text.replace(/^ | $/g, "·").replace(/\n/g, "↵").replace(/\t/g, "⇥")}”`;
const shortName = t => (textOf(t).replace(/\n/g, "↵").trim() || "·").slice(0, 10);
const named = t => `${inWords(textOf(t).trim() || textOf(t))} (${t})`;

/** An element with attributes and children; text is never taken for HTML. */
function make(name, attributes = {}, ...children) {
  const made = name.startsWith("svg:")
    ? document.createElementNS($$("wheel").namespaceURI, name.slice(4))
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    if (value !== null && value !== false) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** A token's text with its invisible marks shown: a space before a word, the end of a line. */
function piece(text, trimmed = false) {
  const made = make("bdi", { class: "piece" });
  const shown = trimmed && text.trim() ? text.trim() : text;
  for (const part of shown.split(/(^ | $|\n|\t)/)) {
    const mark = { " ": "·", "\n": "↵", "\t": "⇥" }[part];
    if (part) made.append(mark ? make("span", { class: "mark", "aria-hidden": "true" }, mark) : part);
  }
  return made;
}
const tokenPiece = t => piece(textOf(t));
const lesson = text => make("span", { class: "more" }, text.replace(" ", "\u00a0"));

/** Fills an element from parts: strings, and [class, string] for what is in colour. */
function tell(element, ...parts) {
  element.replaceChildren(
    ...parts.map(part => (Array.isArray(part) ? make("b", { class: part[0] }, make("bdi", {}, part[1])) : part)),
  );
}

function table(into, heads, rows) {
  into.replaceChildren(
    make(
      "table",
      {},
      make("thead", {}, make("tr", {}, ...heads.map(h => make("th", { scope: "col" }, h)))),
      make("tbody", {}, ...rows.map(cells => make("tr", {}, ...cells.map(c => make("td", {}, c))))),
    ),
  );
}

// ---- colours --------------------------------------------------------------------------------------------------------

// Like cividis: blue over grey to yellow, seen alike by everyone. The large end stands out from the paper.
const SCALES = {
  light: ["#fdf8e4", "#f2e3a2", "#d8c56f", "#a59c74", "#757678", "#45506b", "#00224e"],
  dark: ["#10192e", "#10305f", "#37476b", "#696d74", "#a0976f", "#dcc75a", "#fff3a0"],
};
let colours = []; // one [r, g, b] for each of the 256 roots

function scaleOf(stops) {
  const rgb = stops.map(s => [1, 3, 5].map(i => parseInt(s.slice(i, i + 2), 16)));
  return Array.from({ length: STEPS + 1 }, (_, i) => {
    const x = (i / STEPS) * (rgb.length - 1),
      k = Math.min(Math.floor(x), rgb.length - 2);
    return rgb[k].map((c, j) => Math.round(c + (rgb[k + 1][j] - c) * (x - k)));
  });
}
const css = rgb => `rgb(${rgb.join(" ")})`;
const colourOf = p => colours[Math.round(STEPS * Math.sqrt(p))];
const lettersOn = rgb => (luminance(rgb) > 0.18 ? "#000" : "#fff");
function luminance(rgb) {
  const [r, g, b] = rgb.map(c => ((c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
const variable = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// ---- the text -------------------------------------------------------------------------------------------------------

function buildText() {
  const list = $$("tokens");
  run.tokens.forEach((token, t) => {
    const item = make("li", { role: "option", id: `token-${t}`, class: t >= run.given ? "new" : "" }, tokenPiece(t));
    item.addEventListener("click", () => choose({ t }));
    list.append(item);
    if (token.text.endsWith("\n")) list.append(make("li", { class: "break", role: "presentation" }));
  });
  list.addEventListener("keydown", event => {
    const to = { Home: 0, End: T - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      choose({ t: to });
    }
  });
  if (run.given === T) $$("text-legend").lastElementChild.remove();
}

function drawText() {
  for (let s = 0; s < T; s++) {
    const item = $$(`token-${s}`),
      p = looks(state.t, s),
      chosen = s === state.t;
    item.classList.toggle("chosen", chosen);
    item.classList.toggle("masked", p === null);
    item.style.setProperty("--part", p ?? 0);
    item.style.setProperty("--share", Math.sqrt(p ?? 0));
    item.setAttribute("aria-selected", chosen);
    item.tabIndex = chosen ? 0 : -1;
    const state_ = p === null ? (s > state.t ? "still to come" : "out of the window") : `share ${percent(p)}`;
    item.setAttribute("aria-label", `${s}: ${inWords(textOf(s))}, ${state_}`);
  }
  const token = run.tokens[state.t],
    { piece: own, text } = token;
  const parts = [`Position ${state.t}: `, ["c-query", inWords(text || own)], `, id ${token.id} of ${run.vocabulary}`];
  parts.push(ownPiece(own, text));
  parts.push(state.t < run.given ? ". It was given, in the prompt." : ". The model wrote it.");
  tell($$("token-says"), ...parts);
}

/** What is to be said of a piece that is not simply its text: "⟨F0⟩" is a byte, "⟨start⟩" a mark that has no text. */
function ownPiece(own, text) {
  if (own === text || /^(⟨(start|end|control)⟩|\[.*\])$/.test(own)) return "";
  if (!text) return "; a byte of a character that is not whole yet";
  return own.startsWith("⟨")
    ? `; its piece is the byte ${own}, which completes that character`
    : `; its piece is ${inWords(own)}`;
}

// ---- heads ----------------------------------------------------------------------------------------------------------

function buildMaps() {
  const maps = $$("maps"),
    wide = `minmax(1.9rem, ${run.heads.length < 6 ? "5rem" : "1fr"})`;
  const kv = h => Math.floor(run.heads[h] / group); // heads with a gap between them read different keys
  const apart = h => h > 0 && kv(h) !== kv(h - 1);
  const spaced = cells => cells.flatMap((cell, h) => (apart(h) ? [make("span"), cell] : [cell]));
  const name = (long, text, kind) =>
    make("span", { class: kind, "aria-hidden": "true" }, make("span", { class: "long" }, long), text);
  maps.style.gridTemplateColumns = ["max-content", ...run.heads.map((_, h) => (apart(h) ? `2px ${wide}` : wide))].join(
    " ",
  );
  maps.append(name("head", "", "name"), ...spaced(run.heads.map(i => name("", String(i), "top-name"))));
  run.layers.forEach((i, l) =>
    maps.append(name("layer ", String(i), "name"), ...spaced(run.heads.map((_, h) => mapButton(l, h)))),
  );
  maps.addEventListener("keydown", event => {
    const [dl, dh] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] || [];
    if (dl === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    choose({ l: state.l + dl, h: state.h + dh });
    $$(`map-${state.l}-${state.h}`).focus();
  });
}

function mapButton(l, h) {
  const canvas = make("canvas", { width: T, height: T, "aria-hidden": "true" });
  const made = make(
    "button",
    {
      type: "button",
      role: "radio",
      id: `map-${l}-${h}`,
      "aria-label": `layer ${run.layers[l]}, head ${run.heads[h]}`,
    },
    canvas,
  );
  made.addEventListener("click", () => choose({ l, h }));
  return made;
}

/** Every head's map, a pixel a pair; what is not seen stays transparent, and the hatching shows through. */
function paintMaps() {
  run.layers.forEach((_, l) =>
    run.heads.forEach((_, h) => {
      const canvas = $$(`map-${l}-${h}`).firstChild,
        context = canvas.getContext("2d"),
        image = context.createImageData(T, T);
      for (let t = 0; t < T; t++) {
        const { from, roots } = row(l, h, t);
        roots.forEach((root, i) => paint(image.data, 4 * (t * T + from + i), colours[root]));
      }
      context.putImageData(image, 0, 0);
      canvas.style.imageRendering = T < 60 ? "pixelated" : "auto";
    }),
  );
  const context = $$("scale").getContext("2d");
  colours.forEach((rgb, i) => {
    context.fillStyle = css(rgb);
    context.fillRect(i, 0, 1, 1);
  });
}

function paint(data, at, [r, g, b]) {
  data[at] = r;
  data[at + 1] = g;
  data[at + 2] = b;
  data[at + 3] = 255;
}

function drawMaps() {
  $$("maps").style.setProperty("--row", (state.t + 0.5) / T);
  for (const button of $$("maps").querySelectorAll("button")) {
    const [l, h] = button.id.split("-").slice(1).map(Number),
      chosen = l === state.l && h === state.h;
    button.setAttribute("aria-checked", chosen);
    button.tabIndex = chosen ? 0 : -1;
  }
  const box = $$("maps").parentElement,
    button = $$(`map-${state.l}-${state.h}`); // many heads: scrolled sideways to the chosen one
  const right = button.offsetLeft + button.offsetWidth + 8;
  if (right > box.scrollLeft + box.clientWidth || button.offsetLeft < box.scrollLeft)
    box.scrollLeft = right - box.clientWidth / 2;
}

// ---- one head -------------------------------------------------------------------------------------------------------

let cell = { size: 0, left: 0, top: 0 }; // of the large map, in CSS pixels

function drawMap(over = null) {
  const canvas = $$("map"),
    width = canvas.clientWidth,
    ratio = window.devicePixelRatio || 1;
  if (width < 120) return; // not laid out yet: drawn once it is
  const every = [1, 2, 5, 10, 20, 50, 100].find(n => ((width - 80) / T) * n >= (n === 1 ? 10 : 26)) || 200,
    words = every === 1;
  const edge = words ? 74 : 30,
    size = Math.min((width - edge - 10) / T, 30);
  cell = { size, left: edge, top: edge };
  canvas.style.height = `${edge + size * T + 2}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round((edge + size * T + 2) * ratio);
  const c = canvas.getContext("2d");
  c.scale(ratio, ratio);
  paintCells(c);
  paintNames(c, every, words, over);
  c.strokeStyle = variable("--query");
  c.lineWidth = 2.5;
  const from = row(state.l, state.h, state.t).from;
  c.strokeRect(edge + from * size, edge + state.t * size, (state.t - from + 1) * size, size);
  if (over) {
    c.strokeStyle = variable("--ink");
    c.strokeRect(edge + over.s * size, edge + over.t * size, size, size);
  }
}

function paintCells(c) {
  const { size, left, top } = cell,
    gap = size > 7 ? 0.6 : 0;
  c.fillStyle = hatching(c);
  c.fillRect(left, top, size * T, size * T);
  for (let t = 0; t < T; t++) {
    const { from, roots } = row(state.l, state.h, t);
    roots.forEach((root, i) => {
      c.fillStyle = css(colours[root]);
      c.fillRect(left + (from + i) * size, top + t * size, size - gap, size - gap);
    });
  }
}

function hatching(c) {
  const tile = make("canvas", { width: 6, height: 6 }),
    d = tile.getContext("2d");
  d.strokeStyle = variable("--hatch");
  d.beginPath();
  [
    [-1, 1, 1, -1],
    [0, 6, 6, 0],
    [5, 7, 7, 5],
  ].forEach(([a, b, x, y]) => {
    d.moveTo(a, b);
    d.lineTo(x, y);
  });
  d.stroke();
  return c.createPattern(tile, "repeat");
}

function paintNames(c, every, words, over) {
  const { size, left, top } = cell;
  c.font = `${Math.min(12.5, words ? size : 11)}px system-ui, sans-serif`;
  c.textBaseline = "middle";
  for (let t = 0; t < T; t += every) {
    const text = words ? shortName(t) : String(t);
    const chosen = t === state.t || (over && t === over.t),
      looked = over && t === over.s;
    c.fillStyle = variable(chosen ? "--query-ink" : "--soft");
    c.textAlign = "right";
    c.fillText(text, left - 5, top + (t + 0.5) * size, left - 6);
    c.save();
    c.fillStyle = variable(looked ? "--key-ink" : "--soft");
    c.translate(left + (t + 0.5) * size, top - 5);
    if (words) {
      c.rotate(-Math.PI / 2);
      c.textAlign = "left";
      c.fillText(text, 0, 0, top - 6);
    } else {
      c.textAlign = "center";
      c.textBaseline = "bottom";
      c.fillText(text, 0, 0);
    }
    c.restore();
  }
}

function overMap(event) {
  const box = $$("map").getBoundingClientRect();
  const s = Math.floor((event.clientX - box.left - cell.left) / cell.size),
    t = Math.floor((event.clientY - box.top - cell.top) / cell.size);
  return s >= 0 && t >= 0 && s < T && t < T ? { t, s } : null;
}

function readMap(over) {
  if (!over) {
    tell($$("map-reads"), "Point at the map to read one share; a click chooses the row.");
    return;
  }
  const p = looks(over.t, over.s);
  const parts = [["c-query", named(over.t)], p === null ? " cannot see " : " looks at ", ["c-key", named(over.s)]];
  tell(
    $$("map-reads"),
    ...parts,
    p !== null ? `: ${percent(p)}` : over.s > over.t ? ": it is still to come" : ": it has left the window",
  );
}

function drawHead() {
  const keys = ranked(),
    title = `layer ${layer()}, head ${head()}`,
    next = run.candidates;
  tell(
    $$("token-does"),
    `In ${title}, it looks most at `,
    ["c-key", named(keys[0][0])],
    `: ${percent(keys[0][1])}. Likeliest to come next: `,
    ["c-value", inWords(run.pieces[next.ids[state.t][0]])],
    `, ${percent(next.p[state.t][0])}.`,
  );
  $$("map-title").textContent = `One head: ${title}`;
  $$("map-says").textContent = mapSays(run.windows[layer()], Math.floor(head() / group));
  $$("map").setAttribute(
    "aria-label",
    `Map of ${title}, ${T} by ${T} tokens. The chosen token looks most at ${named(keys[0][0])}, ` +
      `${percent(keys[0][1])}. The list and the table have its numbers.`,
  );
  drawMost(keys);
  drawMap();
}

function mapSays(window, kv) {
  const old = window && window < T ? `, or ${window} or more tokens back` : "";
  const shared =
    group > 1
      ? ` It reads the keys and values of key/value head ${kv}, as heads ${kv * group} to ${kv * group + group - 1} do.`
      : "";
  return `Rows look, columns are looked at. Hatched: not seen, because it is still to come${old}.${shared}`;
}

function drawMost(keys, shown = 6) {
  tell($$("most-title"), ["c-query", named(state.t)], " looks most at");
  $$("most").replaceChildren(...keys.slice(0, shown).map(([s, p]) => bar(piece(textOf(s), true), ` ${s}`, p)));
  const rest = keys.slice(shown).reduce((sum, key) => sum + key[1], 0);
  if (keys.length > shown)
    $$("most").append(bar(make("bdi", { class: "piece" }, `${keys.length - shown} more`), "", rest));
  fill("weights-table", ["position", "token", "share"], () =>
    [...keys].sort((a, b) => a[0] - b[0]).map(([s, p]) => [String(s), tokenPiece(s), percent(p)]),
  );
}

function bar(name, note, p, came = false) {
  if (note) name.append(make("small", {}, note));
  return make(
    "li",
    { class: came ? "came" : "" },
    name,
    make(
      "span",
      { class: "track", "aria-hidden": "true" },
      make("span", { class: "fill", style: `width:${(100 * p).toFixed(2)}%` }),
    ),
    make("span", { class: "share" }, percent(p)),
  );
}

/** A table under a summary is made only while it is open. */
function fill(id, heads, rows) {
  const details = $$(id),
    draw = () => {
      if (details.open) table(details.querySelector(".scroll"), heads, rows());
    };
  details.ontoggle = draw;
  draw();
}

// ---- the ring -------------------------------------------------------------------------------------------------------

/** Which position each slot holds once token t is written: every write from the first token on, done again. */
function ringAfter(ring, window, t) {
  const held = new Array(window <= 128 ? window : Math.min(window, T)).fill(-1);
  for (let s = 0; s <= t; s++) held[ring.slot[s]] = s;
  return held;
}

function drawRing() {
  const window = run.windows[layer()],
    wheel = $$("wheel"),
    t = state.t;
  wheel.style.display = window ? "" : "none";
  if (!window) return noRing();
  const ring = run.rings[window],
    slot = ring.slot[t],
    lost = ring.lost[t],
    held = ringAfter(ring, window, t);
  ringWords(window);
  tell(
    $$("ring-says"),
    ["c-query", named(t)],
    " is written to slot ",
    ["c-cache", String(slot)],
    ` = ${t} mod ${window}. `,
    ...(lost < 0
      ? ["The slot was empty, and nothing is forgotten."]
      : ["There was ", ["c-cache", named(lost)], ": its keys and values are gone now."]),
  );
  tell($$("ring-hint"), ...ringHint(window, t));
  fill("ring-table", ["slot", "position", "token"], () =>
    held.map((s, i) => [String(i), s < 0 ? "empty" : String(s), s < 0 ? "" : tokenPiece(s)]),
  );
  wheel.setAttribute(
    "aria-label",
    `A ring of ${window} slots; ${Math.min(t + 1, window)} are filled, and slot ${slot} was written last.`,
  );
  paintRing(wheel, window, held, slot, lost);
}

function ringWords(window) {
  tell(
    $$("ring-words"),
    "A token does not read the text again: it finds the keys and values of earlier tokens in a cache. ",
    `This model keeps ${window} of them in each layer, in a `,
    ["", "ring"],
    ` of as many slots. Position i goes to slot i mod ${window}, `,
    "so a new token takes the place of the one that has just become too old to be seen. ",
    lesson("Lesson 08."),
  );
}

/** How full the ring is; and how to see one turn, where the text is too short for it. */
function ringHint(window, t) {
  const gone = t + 1 - window,
    full = `${Math.min(t + 1, window)} of ${plural(window, "slot")} hold a token`;
  const forgotten =
    gone > 0 ? `, positions ${gone} to ${t}; ${gone} older ${gone === 1 ? "one is" : "ones are"} forgotten.` : ".";
  if (T > window) return [full + forgotten];
  return [
    `${full}. The text is not longer than the ring, so nothing is forgotten in this run. `,
    "To see the ring turn, run it with a longer text, or with ",
    make("code", { class: "whole" }, `--window ${Math.max(2, Math.floor(T / 3))}`),
    "; that also changes what the model computes.",
  ];
}

function noRing() {
  $$("ring-words").textContent =
    "Layers without a window keep the keys and values of every token: the cache grows with the text, and nothing is " +
    "ever forgotten. With a window (--window 8, say) they would be kept in a ring of so many slots.";
  $$("ring-says").textContent = `After token ${state.t} it holds ${plural(state.t + 1, "token")}.`;
  $$("ring-hint").textContent = "";
  fill("ring-table", ["slot", "position", "token"], () =>
    run.tokens.slice(0, state.t + 1).map((_, s) => [String(s), String(s), tokenPiece(s)]),
  );
}

const OUTER = 150,
  INNER = 104;
const onCircle = (angle, r) => [r * Math.sin(angle), -r * Math.cos(angle)].map(x => x.toFixed(2));

/** The outline of a piece of the ring, from one angle to another; a whole ring is left open by a hair. */
function sector(from, to, outer = OUTER) {
  to = Math.min(to, from + 2 * Math.PI - 1e-3);
  const large = to - from > Math.PI ? 1 : 0;
  return (
    `M${onCircle(from, outer)} A${outer} ${outer} 0 ${large} 1 ${onCircle(to, outer)} ` +
    `L${onCircle(to, INNER)} A${INNER} ${INNER} 0 ${large} 0 ${onCircle(from, INNER)}Z`
  );
}
const path = (d, attributes) => make("svg:path", { d, ...attributes });
const letters = (x, y, size, text, attributes) =>
  make("svg:text", { x, y, "font-size": size, "text-anchor": "middle", ...attributes }, text);

function paintRing(wheel, W, held, slot, lost) {
  const each = (2 * Math.PI) / W,
    [wide, high] = W <= 32 ? [250, 182] : [164, 164]; // few slots: words around them
  wheel.setAttribute("viewBox", `${-wide} ${-high} ${2 * wide} ${2 * high}`);
  const slots =
    W > 128 ? manySlots(W, each, held) : held.flatMap((_, i) => slotShapes(i, each, held[i], i === slot, W));
  const written = path(sector(slot * each, (slot + 1) * each), {
    fill: W > 128 ? "var(--query)" : "none",
    stroke: "var(--query)",
    "stroke-width": 4,
    "stroke-linejoin": "round",
  });
  wheel.replaceChildren(
    hatch("ring-hatch"),
    ...slots,
    written,
    letters(0, -48, 14, "slot", { class: "soft" }),
    letters(0, -5, 44, String(slot), { "font-weight": 700 }),
    letters(0, 20, 14, `holds position ${state.t}`, { class: "soft" }),
    ...(lost < 0 ? [] : [letters(0, 42, 14, `no longer ${lost}`, { class: "soft" })]),
  );
}

/** Too many to draw one by one: what is filled, and what is empty. */
function manySlots(W, each, held) {
  const full = held.filter(s => s >= 0).length;
  return [
    path(sector(0, 2 * Math.PI), { fill: "url(#ring-hatch)", stroke: "var(--line)" }),
    path(sector(0, full * each), { fill: "var(--cache)", opacity: 0.6 }),
  ];
}

/** One slot: its colour, paler the older its token, the position that it holds, and where there is room the token. */
function slotShapes(i, each, s, written, W) {
  const middle = (i + 0.5) * each,
    gap = W > 64 || W === 1 ? 0 : 0.008,
    weight = { "font-weight": written ? 700 : 400 };
  const look =
    s < 0
      ? { fill: "url(#ring-hatch)" }
      : { fill: "var(--cache)", "fill-opacity": (0.85 - (0.65 * (state.t - s)) / W).toFixed(2) };
  const shapes = [path(sector(i * each + gap, (i + 1) * each - gap), { ...look, stroke: "var(--line)" })];
  if (s < 0 || W > 72) return shapes;
  const [x, y] = onCircle(middle, (OUTER + INNER) / 2),
    turn = (middle * 180) / Math.PI + (middle < Math.PI ? -90 : 90);
  shapes.push(
    letters(x, y, W <= 16 ? 15 : W <= 40 ? 11 : 9, String(s), {
      ...weight,
      "dominant-baseline": "central",
      transform: W > 40 ? `rotate(${turn} ${x} ${y})` : null,
    }),
  );
  if (W <= 32) shapes.push(besideSlot(middle, textOf(s).trim() || "·", W <= 16 ? 16 : 12, weight));
  return shapes;
}

function besideSlot(angle, name, size, weight) {
  const [x, y] = onCircle(angle, OUTER + 10),
    upright = Math.abs(x) < 18;
  const anchor = upright ? "middle" : x > 0 ? "start" : "end",
    baseline = !upright ? "central" : y < 0 ? "auto" : "hanging";
  return letters(x, y, size, name.length > 10 ? `${name.slice(0, 9)}…` : name, {
    ...weight,
    class: "word",
    "text-anchor": anchor,
    "dominant-baseline": baseline,
  });
}

function hatch(id) {
  const lines = path("M-1 1L1 -1M0 6L6 0M5 7L7 5", { stroke: "var(--hatch)", "stroke-width": 1 });
  return make("svg:defs", {}, make("svg:pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" }, lines));
}

// ---- candidates -----------------------------------------------------------------------------------------------------

function drawNext() {
  const t = state.t,
    came = run.came[t],
    { ids, p, came: cameP, rank } = run.candidates;
  tell($$("final-title"), "After ", ["c-query", named(t)]);
  $$("final").replaceChildren(...ids[t].map((id, i) => bar(piece(run.pieces[id]), "", p[t][i], id === came)));
  if (came !== null && !ids[t].includes(came)) $$("final").append(bar(piece(run.pieces[came]), "", cameP[t], true));
  tell($$("final-says"), ...whatCame(t, came, cameP[t], rank[t]));
  drawLens(t, came);
  drawSure();
}

/** A bar a token: how likely it was just before it came. The first one had nothing before it. */
function drawSure() {
  const sure = $$("sure"),
    likely = t => run.candidates.came[t - 1];
  if (!sure.children.length)
    sure.append(
      ...run.tokens.map((_, t) => {
        const made = make("i", {
          class: t === 0 ? "first" : t < run.given ? "given" : "",
          style: t ? `--p:${likely(t)}` : null,
          title: `${named(t)}${t ? `: ${percent(likely(t))}` : ""}`,
        });
        made.addEventListener("click", () => choose({ t }));
        return made;
      }),
    );
  sure.style.gap = T > 120 ? "0" : "1px";
  sure.querySelector(".chosen")?.classList.remove("chosen");
  sure.children[state.t].classList.add("chosen");
  const before = state.t ? `${percent(likely(state.t))} before it came` : "nothing before it";
  sure.setAttribute("aria-label", `Bars, one for each token. ${named(state.t)} had ${before}.`);
}

function whatCame(t, came, p, rank) {
  if (came === null) return ["The text ends here: nothing was drawn after this token."];
  const drawn = t + 1 >= run.given,
    { temperature, top_p } = run.options;
  const how = Number(temperature) === 0 ? "so the likeliest" : `with top-p ${top_p}`;
  return [
    drawn ? "The model drew " : "In the prompt came ",
    ["c-value", inWords(run.pieces[came])],
    `: ${percent(p)}, the ${rank === 1 ? "likeliest" : `${nth(rank)} likeliest`} of ${run.vocabulary}.`,
    drawn && temperature !== undefined
      ? ` These are the probabilities at temperature 1; it drew at temperature ${temperature}, ${how}.`
      : "",
  ];
}

function drawLens(t, came) {
  const names = ["embedding", ...run.layers.map(i => `layer ${i}`)],
    depths = [...run.by_depth],
    top = depths[0].ids[t].length;
  if (run.layers.at(-1) !== L - 1) {
    names.push(`layer ${L - 1}`);
    depths.push(run.candidates);
  } // the answer is always there
  const heads = ["after", ...Array.from({ length: top }, (_, i) => `${i + 1}.`), ...(came === null ? [] : ["came"])];
  const rows = depths.map((depth, d) =>
    make(
      "tr",
      { class: d === state.l + 1 ? "here" : "" },
      make("th", { scope: "row" }, names[d]),
      ...depth.ids[t].slice(0, top).map((id, i) => lensCell(id, depth.p[t][i], id === came)),
      ...(came === null
        ? []
        : [make("td", { class: "placed" }, percent(depth.came[t]), make("br"), nth(depth.rank[t]))]),
    ),
  );
  $$("lens").replaceChildren(
    make(
      "thead",
      {},
      make("tr", {}, ...heads.map(h => make("th", { scope: "col", class: h === "came" ? "placed" : "" }, h))),
    ),
    make("tbody", {}, ...rows),
  );
}

function lensCell(id, p, came) {
  const rgb = colourOf(p);
  return make(
    "td",
    {
      class: came ? "cell came" : "cell",
      style: `background:${css(rgb)};color:${lettersOn(rgb)}`,
      title: run.pieces[id],
    },
    piece(run.pieces[id], true),
    make("small", {}, percent(p)),
  );
}

// ---- reach ----------------------------------------------------------------------------------------------------------

/** First positions within reach of the chosen token in the chosen layer's output, from there down to the tokens. */
function coneOf(i, t) {
  const firsts = [t];
  for (let k = i; k >= 0; k--) firsts.push(first(firsts.at(-1), run.windows[k]));
  return firsts; // firsts[d]: d layers further down
}

function drawReach() {
  const i = layer(),
    t = state.t,
    from = run.first_in_reach[i][t],
    W = run.windows[0],
    alike = new Set(run.windows).size === 1;
  const count = (i + 1) * (W - 1) + 1;
  reachWords(W, alike);
  const sum = make("span", { class: "whole" }, `${i + 1} × (${W} − 1) + 1 = ${count}`),
    short = count > t + 1 ? `, and the text up to here has only ${t + 1}` : "";
  tell(
    $$("reach-says"),
    `After layer ${i}, `,
    ["c-query", named(t)],
    " can hold something of ",
    ["c-value", plural(t - from + 1, "token")],
    `: ${t === from ? `position ${t}` : `positions ${from} to ${t}`}. `,
    ...(alike && W ? [sum, `${short}.`] : []),
  );
  fill("reach-table", ["after layer", "first position", "last position", "tokens"], () =>
    run.first_in_reach.map((f, k) => [String(k), String(f[t]), String(t), String(t - f[t] + 1)]),
  );
  paintCone(i, t);
}

function reachWords(W, alike) {
  const same = W ? `${plural(W, "token")} at most, itself included` : "all tokens before it, and itself";
  tell(
    $$("reach-words"),
    `In one layer a token sees ${alike ? same : "no further back than that layer's window"}. But what it sees there was `,
    "itself written from what others saw one layer below, so with each layer news can have come from further back",
    alike && W ? `: after k layers from k (W − 1) + 1 tokens, here with W = ${W}. ` : ". ",
    "It is a limit: no more can have reached it; how much did is another question. ",
    lesson("Lesson 07."),
  );
}

function paintCone(i, t) {
  const cone = $$("cone"),
    width = $$("cone-box").clientWidth,
    left = width < 500 ? 66 : 92,
    size = Math.min((width - left - 8) / T, 46);
  if (width < 120) return; // not laid out yet: drawn once it is
  const high = Math.max(9, Math.min(26, 330 / (L + 1))),
    step = high + (high > 14 ? 5 : 2),
    words = size >= 13;
  const below = (L + 1) * step + 2,
    height = below + (words ? 82 : 24),
    firsts = coneOf(i, t);
  for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height }))
    cone.setAttribute(name, value);
  cone.setAttribute(
    "aria-label",
    `A cone over the tokens: from layer ${i}, position ${t}, down to positions ${firsts.at(-1)} to ${t}.`,
  );
  const rows = Array.from({ length: L + 1 }, (_, n) =>
    coneRow(L - n, { i, t, from: firsts[i + 1 - (L - n)], left, size, y: n * step, high }),
  );
  const gaps =
    size < 6
      ? []
      : Array.from({ length: T - 1 }, (_, s) => left + (s + 1) * size).map(x =>
          make("svg:line", { x1: x, x2: x, y1: 0, y2: below - 2, stroke: "var(--card)", "stroke-width": 1.5 }),
        );
  cone.replaceChildren(hatch("cone-hatch"), ...rows, ...gaps, ...axis(left, size, below + 4, words, t, firsts.at(-1)));
}

/** What a layer writes, a cell a token; `depth` layers lie under it, 0 is the tokens. Green: within reach. */
function coneRow(depth, { i, t, from, left, size, y, high }) {
  const at = run.layers.indexOf(depth - 1),
    chosen = depth === i + 1,
    made = make("svg:g", { class: at < 0 ? null : "row" });
  const cells = (first, last, look) =>
    made.append(
      make("svg:rect", { x: left + first * size, y, width: (last - first + 1) * size, height: high, rx: 3, ...look }),
    );
  cells(0, T - 1, { fill: "url(#cone-hatch)" });
  if (from !== undefined) cells(from, t, { fill: "var(--value)", "fill-opacity": 0.75 });
  if (chosen) cells(t, t, { fill: "var(--query)" });
  made.append(
    letters(left - 8, y + high / 2, Math.min(12.5, high + 2), depth ? `layer ${depth - 1}` : "tokens", {
      "text-anchor": "end",
      "dominant-baseline": "central",
      class: chosen ? null : "soft",
      "font-weight": chosen ? 700 : 400,
    }),
  );
  if (at >= 0) made.addEventListener("click", () => choose({ l: at }));
  return made;
}

/** The tokens under the cone: their words where there is room, else some positions. */
function axis(left, size, y, words, t, from) {
  const every = words ? 1 : [5, 10, 20, 50, 100].find(n => size * n >= 26) || 200;
  return run.tokens
    .map((_, s) => s)
    .filter(s => s % every === 0)
    .map(s => {
      const x = left + (s + 0.5) * size,
        look = { class: `word ${s >= from && s <= t ? "" : "soft"}`, "font-weight": s === t ? 700 : 400 };
      if (!words) return letters(x, y, 13, String(s), { ...look, "dominant-baseline": "hanging" });
      return letters(x, y, 13, shortName(s), {
        ...look,
        "text-anchor": "start",
        "dominant-baseline": "central",
        transform: `rotate(90 ${x} ${y})`,
      });
    });
}

// ---- choosing -------------------------------------------------------------------------------------------------------

const within = (x, count) => Math.max(0, Math.min(count - 1, x));

function choose(change) {
  state.t = within(change.t ?? state.t, T);
  state.l = within(change.l ?? state.l, run.layers.length);
  state.h = within(change.h ?? state.h, run.heads.length);
  const inText = document.activeElement?.parentElement === $$("tokens");
  draw();
  if (inText) $$(`token-${state.t}`).focus();
  remember();
}

function draw() {
  drawText();
  drawMaps();
  drawHead();
  readMap(null);
  drawRing();
  drawNext();
  drawReach();
  const shown = textOf(state.t).trim() || textOf(state.t);
  $$("now").replaceChildren(
    make("b", {}, make("bdi", {}, inWords(shown))),
    " ",
    make("span", {}, `${state.t + 1} of ${T}`),
  );
  $$("back").disabled = state.t === 0;
  $$("forth").disabled = state.t === T - 1;
  $$("layer").value = state.l;
  $$("head").value = state.h;
  say();
}

let soon = 0;
/** A sentence for a screen reader, once the choosing has come to rest. */
function say() {
  clearTimeout(soon);
  soon = setTimeout(() => {
    const [s, p] = ranked()[0],
      next = run.candidates;
    $$("live").textContent = [
      `Token ${state.t}, ${inWords(textOf(state.t))}.`,
      `Layer ${layer()}, head ${head()} looks most at ${named(s)}, ${percent(p)}.`,
      $$("ring-says").textContent,
      `Likeliest next: ${inWords(run.pieces[next.ids[state.t][0]])}, ${percent(next.p[state.t][0])}.`,
    ].join(" ");
  }, 250);
}

/** The choice goes into the address, so that a link to the page can show it. */
function remember() {
  try {
    history.replaceState(null, "", `#token=${state.t}&layer=${layer()}&head=${head()}`);
  } catch {
    /* not allowed here: never mind */
  }
}

/** Where to begin: what the address says, else the prompt's last token and the head that looks hardest at a word. */
function begin() {
  const asked = Object.fromEntries(
    [...location.hash.matchAll(/(token|layer|head)=(\d{1,9})/g)].map(m => [m[1], Number(m[2])]),
  );
  state.t = within(asked.token ?? run.given - 1, T);
  let best = -1;
  run.layers.forEach((_, l) =>
    run.heads.forEach((_, h) => {
      const { from, roots } = row(l, h, state.t);
      roots.forEach((root, i) => {
        if (from + i < state.t - 1 && root > best && /\p{L}{2}/u.test(run.tokens[from + i].text))
          [best, state.l, state.h] = [root, l, h];
      });
    }),
  );
  if (run.layers.includes(asked.layer)) state.l = run.layers.indexOf(asked.layer);
  if (run.heads.includes(asked.head)) state.h = run.heads.indexOf(asked.head);
}

function buildControls() {
  run.layers.forEach((i, l) => $$("layer").append(make("option", { value: l }, String(i))));
  run.heads.forEach((i, h) => $$("head").append(make("option", { value: h }, String(i))));
  $$("layer").addEventListener("change", event => choose({ l: Number(event.target.value) }));
  $$("head").addEventListener("change", event => choose({ h: Number(event.target.value) }));
  $$("back").addEventListener("click", () => choose({ t: state.t - 1 }));
  $$("forth").addEventListener("click", () => choose({ t: state.t + 1 }));
  document.addEventListener("keydown", event => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key],
      other = event.altKey || event.ctrlKey || event.metaKey || event.shiftKey;
    if (!step || other || event.target.closest("select, details[open] .scroll")) return;
    event.preventDefault();
    choose({ t: state.t + step });
  });
}

function buildMap() {
  const point = over => {
    drawMap(over);
    readMap(over);
  };
  $$("map").addEventListener("pointermove", event => point(overMap(event)));
  $$("map").addEventListener("pointerleave", () => point(null));
  $$("map").addEventListener("click", event => {
    const over = overMap(event);
    if (!over) return;
    choose({ t: over.t });
    point(over);
  });
}

function buildPlay() {
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    $$("play").setAttribute("aria-pressed", "false");
    $$("play").textContent = "play";
  };
  $$("play").addEventListener("click", () => {
    if (timer) {
      stop();
      return;
    }
    if (state.t === T - 1) choose({ t: 0 });
    timer = setInterval(() => {
      choose({ t: state.t + 1 });
      if (state.t === T - 1) stop();
    }, 700);
    $$("play").setAttribute("aria-pressed", "true");
    $$("play").textContent = "stop";
  });
}

// ---- light and dark, and the beginning ------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
let theme = null; // what was chosen here; null: what the system says
try {
  theme = ["light", "dark"].find(name => name === localStorage.getItem("minimistral-theme"));
} catch {
  /* no storage: it is asked again next time */
}

function dress() {
  const now = theme ?? (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = now;
  colours = scaleOf(SCALES[now]);
  $$("theme").textContent = now === "dark" ? "light page" : "dark page";
  paintMaps();
  draw();
}

function about() {
  const some = (kept, all) => (kept === all ? "" : ` (${kept} of them shown)`),
    wrote = T - run.given;
  const same = run.windows[0] ? `a window of ${plural(run.windows[0], "token")}` : "no window";
  const window = new Set(run.windows).size > 1 ? "windows that differ from layer to layer" : same;
  tell(
    $$("about"),
    ["", run.name],
    `, a Mistral with ${plural(L, "layer")}${some(run.layers.length, L)} of ${plural(run.heads_of_model, "head")}`,
    `${some(run.heads.length, run.heads_of_model)} and ${window}, read ${plural(run.given, "token")}`,
    `${wrote ? ` and wrote ${plural(wrote, "more token")}` : ""}. This is what happened inside, number by number. `,
    "Nothing here is made up for the picture.",
  );
  const { temperature, top_p, top_k, seed } = run.options;
  const drawn = `; the tokens after the prompt were drawn with temperature ${temperature}, top-p ${top_p}, top-k ${top_k}, seed ${seed}`;
  $$("made").textContent = `Made by minimistral explain from ${run.name}${temperature === undefined ? "" : drawn}.`;
}

buildText();
buildMaps();
buildControls();
buildMap();
buildPlay();
about();
begin();
$$("scale-ends").append(
  ...[0, 0.01, 0.1, 0.25, 0.5, 1].map(p =>
    make("span", { style: `left:${100 * Math.sqrt(p)}%` }, p ? `${100 * p}\u00a0%` : "0"),
  ),
);
dress();
dark.addEventListener("change", dress);
$$("theme").addEventListener("click", () => {
  theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("minimistral-theme", theme);
  } catch {
    /* it lasts until the page is closed */
  }
  dress();
});
let size = $$("cone-box").clientWidth;
new ResizeObserver(() => {
  if (size !== $$("cone-box").clientWidth) {
    size = $$("cone-box").clientWidth;
    drawMap();
    drawReach();
  }
}).observe($$("cone-box"));

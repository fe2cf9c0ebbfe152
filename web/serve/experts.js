// The live view: which experts of which layers produced the tokens, on this page or on the whole
// server.
import { $, el, integer, on, onFrame, percent, shown, times } from "./base.js";
import { getJson } from "./api.js";
import { answers } from "./chat.js";
import { HeatMap } from "./heat.js";

const kPollMs = 2000;
const kWindow = 60;  // seconds of the server's recent past
const kFavourites = 24;

const sources = [["answer", "Latest answer"], ["page", "This chat"], ["recent", "Server, last minute"],
  ["server", "Server, since start"]];

let layers = [];  // { layer, experts, k }
let source = "answer";
let server = null;  // the last statistics that were fetched
let chosen = null;  // [row, expert]
let focused = null;  // { answer, index }
let map, readout, inspector, favourites, balance;

const shownAnswers = () => (source === "page" ? answers : answers.slice(-1));

// Choices of each expert, [row][expert].
function counts() {
  if (source === "recent" || source === "server") {
    return layers.map((layer) => {
      const found = server && server.layers.find((other) => other.layer === layer.layer);
      return found ? found.tokens_per_expert : new Array(layer.experts).fill(0);
    });
  }
  const table = layers.map((layer) => new Array(layer.experts).fill(0));
  for (const answer of shownAnswers()) {
    answer.layers.forEach((layer, row) => {
      for (const token of answer.tokens) {
        for (let slot = layer.offset; slot < layer.offset + layer.k; slot++) {
          const expert = token.experts[slot];
          if (expert >= 0) table[row][expert]++;
        }
      }
    });
  }
  return table;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

// Evenness of a layer's load: its entropy as a share of the most that is possible.
function evenness(row) {
  const total = sum(row);
  const entropy = -sum(row.map((n) => (n === 0 ? 0 : (n / total) * Math.log(n / total))));
  return entropy / Math.log(row.length);
}

function drawBalance(table) {
  const used = table.map((row, r) => [layers[r].layer, row]).filter(([, row]) => sum(row) > 0);
  if (used.length === 0) {
    balance.textContent = "Nothing was counted yet.";
    return;
  }
  let worst = [0, 0, 0];
  for (const [layer, row] of used) {
    const most = Math.max(...row);
    const lift = (most * row.length) / sum(row);
    if (lift > worst[0]) worst = [lift, layer, row.indexOf(most)];
  }
  const even = sum(used.map(([, row]) => evenness(row))) / used.length;
  const idle = sum(used.map(([, row]) => row.filter((n) => n === 0).length));
  const all = sum(used.map(([, row]) => row.length));
  balance.textContent = `Balance: ${percent(even)} of an even load. Busiest: layer ${worst[1]}, expert ${worst[2]}, `
    + `${times(worst[0])} the mean. ${integer(idle)} of ${integer(all)} experts idle.`;
  const missing = server ? sum(server.layers.map((layer) => layer.store_misses)) : 0;
  if (missing > 0) {
    const hits = sum(server.layers.map((layer) => layer.store_hits));
    balance.textContent += ` Expert store: ${percent(hits / (hits + missing), 1)} of requests were ready.`;
  }
}

const redraw = onFrame(() => {
  const table = counts();
  let strongest = 0;
  const shares = table.map((row) => {
    const total = sum(row);
    return row.map((n) => {
      const share = total > 0 ? n / total : 0;
      strongest = Math.max(strongest, share);
      return share;
    });
  });
  // The square root shows small loads beside large ones.
  map.setValues(shares.map((row) => row.map((share) => (strongest > 0 ? Math.sqrt(share / strongest) : 0))));
  drawBalance(table);
  drawMarks();
  if (chosen) drawFavourites();
});

// The cells of the token that is looked at, or of the newest one while an answer is written.
function drawMarks() {
  let place = focused;
  const last = answers[answers.length - 1];
  if (!place && last && last.ended === null && last.tokens.length > 0) {
    place = { answer: last, index: last.tokens.length - 1 };
  }
  const marks = [];
  if (place) {
    place.answer.expertsOf(place.index).forEach(([, pairs], row) => {
      for (const [expert] of pairs) marks.push([row, expert]);
    });
  }
  map.setMarks(marks);
  drawInspector(place);
}

function drawInspector(place) {
  if (!place) {
    inspector.replaceChildren(el("p", { class: "muted" }, answers.length === 0 ? "The experts of each token will appear here."
      : "Choose Tokens below an answer and point at a token, or go there with Tab and the arrow keys."));
    return;
  }
  const token = place.answer.tokens[place.index];
  const rows = place.answer.expertsOf(place.index).map(([layer, pairs], row) => el("tr", {},
    el("th", { scope: "row" }, "L" + layer.layer),
    el("td", {}, pairs.map(([expert, weight]) => {
      const bar = el("i", { style: { width: Math.max(2, Math.min(1, weight) * 46) + "px" } });
      return el("button", { type: "button", class: "expert", title: `Layer ${layer.layer}, expert ${expert}, weight ${weight.toFixed(3)}`,
        onclick: () => choose(row, expert) }, el("b", {}, "E" + expert), bar, el("small", {}, weight.toFixed(2)));
    }))));
  inspector.replaceChildren(
    el("p", {}, el("bdi", { class: "token" }, shown(token.text)), ` token ${place.index + 1} `,
      el("span", { class: "muted" }, place.answer.describe(place.index))),
    el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Experts of the token" },
      el("table", { class: "layers" }, el("tbody", {}, rows))));
}

// The weight that an expert has for a token, or 0.
function weightOf(token, layer, expert) {
  for (let slot = layer.offset; slot < layer.offset + layer.k; slot++) {
    if (token.experts[slot] === expert) return token.weights[slot] || 0;
  }
  return 0;
}

function choose(row, expert) {
  const same = chosen && chosen[0] === row && chosen[1] === expert;
  chosen = row < 0 || same ? null : [row, expert];
  map.choose(chosen);
  for (const answer of answers) shadeAnswer(answer);
  drawFavourites();
}

function shadeAnswer(answer) {
  const layer = chosen ? answer.layers[chosen[0]] : null;
  answer.setShade(layer ? (token) => weightOf(token, layer, chosen[1]) : null);
}

// Tokens that the chosen expert gets more often than chance, over all answers on this page.
function drawFavourites() {
  if (!chosen) {
    favourites.replaceChildren(el("p", { class: "muted" }, "Choose a cell to see the tokens that its expert likes."));
    return;
  }
  const [row, expert] = chosen;
  const found = new Map();
  let tokens = 0, taken = 0;
  for (const answer of answers) {
    const layer = answer.layers[row];
    if (!layer) continue;
    for (const token of answer.tokens) {
      const weight = weightOf(token, layer, expert);
      const entry = found.get(token.text) || { text: token.text, all: 0, own: 0, weight: 0 };
      entry.all++;
      entry.own += weight > 0;
      entry.weight += weight;
      found.set(token.text, entry);
      tokens++;
      taken += weight > 0;
    }
  }
  const best = [...found.values()].filter((entry) => entry.own > 0)
    .sort((a, b) => b.weight - a.weight || b.own - a.own).slice(0, kFavourites);
  const { layer, k, experts } = layers[row];
  favourites.replaceChildren(
    el("p", {}, el("b", {}, `Layer ${layer}, expert ${expert}`), tokens === 0 ? ": no answer yet" :
      `: ${integer(taken)} of ${integer(tokens)} tokens (${percent(taken / tokens, 1)}; even would be ${percent(k / experts, 1)}) `,
    el("button", { type: "button", class: "quiet", onclick: () => choose(-1, -1) }, "Let go")),
    el("ul", { class: "chips", "aria-label": "Favourite tokens, with how often of how often" }, best.map((entry) =>
      el("li", { title: `mean weight ${(entry.weight / entry.own).toFixed(2)}` }, el("bdi", {}, shown(entry.text)),
        el("small", {}, `${entry.own}/${entry.all}`)))));
}

function hover(row, expert) {
  const table = counts();
  if (row < 0) {
    readout.textContent = "\u00a0";
    return;
  }
  const total = sum(table[row]);
  const n = table[row][expert];
  readout.textContent = `Layer ${layers[row].layer}, expert ${expert}: ${integer(n)} choices`
    + (total > 0 ? `, ${percent(n / total, 1)} of the layer, ${times((n * layers[row].experts) / total)} the mean` : "");
}

async function poll() {
  const wanted = source === "server" ? "v1/routing" : `v1/routing?window=${kWindow}`;
  if (!document.hidden && (source === "server" || source === "recent")) {
    try {
      server = await getJson(wanted);
      redraw();
    } catch { /* the load view says that the server is away */ }
  }
  setTimeout(poll, kPollMs);
}

function setSource(value) {
  source = value;
  server = null;
  redraw();
  if (value === "server" || value === "recent") {
    getJson(value === "server" ? "v1/routing" : `v1/routing?window=${kWindow}`).then((found) => {
      server = found;
      redraw();
    }).catch(() => {});
  }
}

export function startExperts(status) {
  layers = status.model.routing_layers;
  if (layers.length === 0) {
    document.body.dataset.dense = "";
    return;
  }
  map = new HeatMap({ onHover: hover, onSelect: choose });
  readout = el("p", { class: "readout", "aria-live": "polite" }, "\u00a0");
  inspector = el("div", { class: "card" });
  favourites = el("div", { class: "card" });
  balance = el("p", { class: "muted" });
  const views = el("fieldset", { class: "views" }, el("legend", { class: "hidden" }, "Tokens that are counted"),
    sources.map(([value, text], i) => el("label", {}, el("input", { type: "radio", name: "source", value, checked: i === 0,
      onchange: () => setSource(value) }), text)));
  $("experts").append(el("h2", {}, "Experts at work"), views, map.canvas, readout, balance,
    el("h3", {}, "Token"), inspector, el("h3", {}, "Expert"), favourites);
  map.setRows(layers);
  drawInspector(null);
  drawFavourites();
  on("token", redraw);
  on("answers", () => {
    for (const answer of answers) shadeAnswer(answer);
    redraw();
  });
  on("focus-token", (place) => {
    if (focused) focused.answer.markToken(-1);
    focused = place;
    if (focused) focused.answer.markToken(focused.index);
    drawMarks();
  });
  redraw();
  poll();
}


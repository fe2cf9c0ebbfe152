// The server's load at a glance: speed, requests, memory of keys and values.
import { $, bytes, el, integer, short } from "./base.js";
import { getJson } from "./api.js";

const kPollMs = 1000;
const kHistory = 60;  // polls that the line shows

const speeds = [];
let last = null, tiles = null;

function tile(name) {
  const value = el("dd", {}, "\u2013");
  const note = el("dd", { class: "note" }, "\u00a0");
  return { node: el("div", { class: "tile" }, el("dt", {}, name), value, note), value, note };
}

function drawLine(canvas) {
  const scale = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const most = Math.max(1, ...speeds);
  context.strokeStyle = getComputedStyle(canvas).color;
  context.lineWidth = 1.5;
  context.beginPath();
  speeds.forEach((speed, i) => {
    const x = width * (1 - (speeds.length - 1 - i) / (kHistory - 1));
    context.lineTo(x, height - 1 - (height - 2) * (speed / most));
  });
  context.stroke();
}

function show(status) {
  const { load, limits } = status;
  tiles.running.value.textContent = `${integer(load.running)} / ${integer(limits.max_running)}`;
  tiles.running.note.textContent = `${integer(load.queued)} waiting`;
  tiles.memory.value.textContent = bytes(load.kv_bytes);
  tiles.memory.note.textContent = `of ${bytes(limits.kv_bytes)}`;
  tiles.total.value.textContent = short(load.generated_tokens);
  tiles.total.note.textContent = `${short(load.prompt_tokens)} read`;
  if (last) {
    const seconds = status.seconds - last.seconds;
    const rate = (name) => (load[name] - last.load[name]) / seconds;
    speeds.push(rate("generated_tokens"));
    if (speeds.length > kHistory) speeds.shift();
    tiles.speed.value.textContent = speeds[speeds.length - 1].toFixed(1);
    const busy = Math.min(1, rate("step_seconds"));
    tiles.speed.note.textContent = `busy ${(busy * 100).toFixed(0)}\u202f%, reads ${short(rate("prompt_tokens"))}`;
    drawLine(tiles.line);
  }
  last = status;
}

async function poll() {
  if (!document.hidden) {
    try {
      show(await getJson("v1/status"));
      $("load").classList.remove("away");
    } catch {
      $("load").classList.add("away");
      tiles.speed.note.textContent = "the server does not answer";
    }
  } else {
    last = null;
  }
  setTimeout(poll, kPollMs);
}

export function startLoad(status) {
  tiles = { speed: tile("Tokens a second"), running: tile("Requests"), memory: tile("Cache in use"), total: tile("Tokens written") };
  tiles.line = el("canvas", { class: "line", role: "img", "aria-label": "Tokens a second over the last minute" });
  tiles.speed.node.append(tiles.line);
  $("load").append(...Object.values(tiles).map((item) => item.node).filter(Boolean));
  const { model } = status;
  document.title = `${model.id} \u2013 Conclave`;
  $("model").textContent = model.id;
  const routed = model.routing_layers;
  const experts = [...new Set(routed.map((layer) => `${layer.experts} experts, ${layer.k} a token`))].join("; ");
  $("facts").textContent = [`${model.layers} layers`, experts || "dense",
    `${short(model.parameters)} parameters` + (model.parameters_active < model.parameters ? `, ${short(model.parameters_active)} active` : ""),
    `context ${integer(model.context)}`].join(" \u00b7 ");
  show(status);
  setTimeout(poll, kPollMs);
}

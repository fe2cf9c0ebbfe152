// The conversation: what was said, the box to say more, and the answers as they come.
import { $, el, emit } from "./base.js";
import { stream } from "./api.js";
import { Answer } from "./answer.js";

const kRetries = 3;

export const answers = [];
let turns = [];  // { role, content } of a chat
let running = null;  // AbortController
let model = null;

const pause = (seconds, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, seconds * 1000);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    resolve();
  });
});

function settings() {
  const number = (id) => ($(id).value === "" ? null : Number($(id).value));
  const body = { model: model.id, stream: true, stream_options: { include_usage: true } };
  if (model.routing_layers.length > 0) body.routing = true;
  const fields = [["temperature", "temperature"], ["top_p", "top-p"], ["max_tokens", "max-tokens"], ["seed", "seed"]];
  for (const [name, id] of fields) {
    const value = number(id);
    if (value !== null && Number.isFinite(value)) body[name] = value;
  }
  return body;
}

// Path and body of the request, and how the answer is shown.
function requestFor(text) {
  if (!model.chat_template) {
    return { path: "v1/completions", body: { max_tokens: 200, ...settings(), prompt: text, logprobs: 0 },
      answer: new Answer({ plain: true, prefix: text }) };
  }
  const system = $("system").value.trim();
  const messages = [...(system === "" ? [] : [{ role: "system", content: system }]), ...turns,
    { role: "user", content: text }];
  return { path: "v1/chat/completions", body: { ...settings(), messages, logprobs: true }, answer: new Answer() };
}

const atEnd = () => {
  const log = $("log");
  return log.scrollHeight - log.scrollTop - log.clientHeight < 60;
};
const toEnd = () => { $("log").scrollTop = $("log").scrollHeight; };

// A server that is full says when to come back.
async function readAnswer(path, body, answer, signal) {
  for (let retry = 0; ; retry++) {
    try {
      for await (const event of stream(path, body, signal)) {
        const follow = atEnd();
        answer.add(event);
        if (follow) requestAnimationFrame(toEnd);
      }
      return;
    } catch (error) {
      const later = [429, 503].includes(error.status) && error.retryAfter > 0 && answer.tokens.length === 0;
      if (!later || retry >= kRetries || signal.aborted) throw error;
      answer.note.textContent = `The server is busy; trying again in ${error.retryAfter} s`;
      await pause(error.retryAfter, signal);
    }
  }
}

async function send(text) {
  const { path, body, answer } = requestFor(text);
  const first = answers.length === 0;
  running = new AbortController();
  answers.push(answer);
  if (first) $("log").replaceChildren();
  $("log").append(...(model.chat_template
    ? [el("article", { class: "message user", "aria-label": "Your message" }, el("div", { class: "text plain" }, text))] : []),
  answer.node);
  toEnd();
  $("send").hidden = true;
  $("stop").hidden = false;
  $("announce").textContent = "";
  emit("answers", null);
  let problem = null;
  try {
    await readAnswer(path, body, answer, running.signal);
  } catch (error) {
    problem = running.signal.aborted ? "stopped" : error.message;
  }
  const follow = atEnd();
  answer.end(problem);
  if (follow) toEnd();
  if (answer.text !== "" || problem === null) {
    turns.push({ role: "user", content: text }, { role: "assistant", content: answer.text });
  }
  $("announce").textContent = problem || `Answer complete: ${answer.text.slice(0, 1000)}`;
  running = null;
  $("send").hidden = false;
  $("stop").hidden = true;
  emit("answers", null);
}

function welcome() {
  const what = model.chat_template ? "Ask something below."
    : "This model was made without a chat template: it continues the text that you write below.";
  $("log").replaceChildren(el("p", { class: "muted welcome" }, what, model.routing_layers.length === 0
    ? " It has no experts to show: every layer is dense." : " While the answer is written, the experts at work are shown."));
}

function clear() {
  if (running) running.abort();
  turns = [];
  answers.length = 0;
  welcome();
  emit("answers", null);
  emit("focus-token", null);
  $("prompt").focus();
}

export function startChat(status) {
  model = status.model;
  $("system-field").hidden = !model.chat_template;
  $("prompt").placeholder = model.chat_template ? "Message" : "Text to continue";
  $("send").textContent = model.chat_template ? "Send" : "Continue";
  welcome();
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("prompt").value;
    if (running || text.trim() === "") return;
    $("prompt").value = model.chat_template ? "" : text;
    send(text);
  });
  $("prompt").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $("composer").requestSubmit();
  });
  $("stop").addEventListener("click", () => running && running.abort());
  $("clear").addEventListener("click", clear);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running && !$("key-dialog").open) running.abort();
  });
}

// One answer: its text as Markdown, and its tokens with the experts that produced them.
import { el, emit, integer, onFrame, percent, shown } from "./base.js";
import { showMarkdown } from "./markdown.js";

const kMostChips = 4000;  // tokens that the token view shows

export class Answer {
  constructor({ plain = false, prefix = "" } = {}) {
    this.text = "";
    this.reasoning = "";
    this.tokens = [];  // { text, logprob, experts, weights }
    this.layers = [];  // { layer, experts, k, offset } of the layers with a router
    this.plain = plain;  // shown as it is
    this.begun = performance.now();
    this.ended = null;
    this.firstToken = null;
    this.finish = null;
    this.shade = null;  // token -> 0..1
    this.chipNodes = [];  // of the first tokens, once the token view was opened
    this.build(prefix);
    this.draw = onFrame(() => this.drawNow());
  }

  build(prefix) {
    this.body = el("div", { class: this.plain ? "text plain" : "text" });
    this.thoughts = el("div", { class: "text" });
    this.thinking = el("details", { class: "thinking", hidden: true }, el("summary", {}, "Reasoning"), this.thoughts);
    this.chips = el("div", { class: "tokens", role: "listbox", tabindex: "-1", hidden: true,
      "aria-label": "Tokens of the answer; arrow keys go from one to the next" });
    this.note = el("span", { class: "muted" });
    this.toggle = el("button", { type: "button", class: "quiet", "aria-pressed": "false", onclick: () => this.showTokens(this.chips.hidden) }, "Tokens");
    this.copy = el("button", { type: "button", class: "quiet", onclick: () => this.copyText() }, "Copy");
    this.foot = el("footer", {}, this.note, this.toggle, this.copy);
    this.node = el("article", { class: "message answer", "aria-label": "Answer", "aria-busy": "true" },
      prefix === "" ? null : el("div", { class: "prefix" }, prefix),
      this.thinking, this.body, this.chips, this.foot);
    this.chips.addEventListener("keydown", (event) => this.onKey(event));
    for (const [name, leave] of [["pointerover", false], ["focusin", false], ["pointerleave", true]]) {
      this.chips.addEventListener(name, (event) => {
        const index = leave ? -1 : this.chipNodes.indexOf(event.target);
        if (index >= 0) emit("focus-token", { answer: this, index });
        else if (leave && !this.chips.contains(document.activeElement)) emit("focus-token", null);
      });
    }
  }

  // An event of the stream.
  add(event) {
    if (event.routing_layers) {
      let offset = 0;
      this.layers = event.routing_layers.map((layer) => {
        const own = { ...layer, offset };
        offset += layer.k;
        return own;
      });
    }
    if (event.usage) this.usage = event.usage;
    const choice = event.choices && event.choices[0];
    if (!choice) return;
    const delta = choice.delta || {};
    this.text += delta.content || choice.text || "";
    this.reasoning += delta.reasoning_content || "";
    if (choice.finish_reason) this.finish = choice.finish_reason;
    this.addTokens(choice);
    this.draw();
  }

  addTokens(choice) {
    const routing = choice.routing || [];
    const log = choice.logprobs || {};
    const texts = log.content ? log.content.map((token) => [token.token, token.logprob])
      : (log.tokens || []).map((text, i) => [text, log.token_logprobs[i]]);
    const count = Math.max(routing.length, texts.length);
    for (let i = 0; i < count; i++) {
      const [text, logprob] = texts[i] || ["?", null];
      const { experts = [], weights = [] } = routing[i] || {};
      if (this.firstToken === null) this.firstToken = performance.now();
      this.tokens.push({ text, logprob, experts, weights });
    }
    if (count > 0) emit("token", { answer: this });
  }

  end(problem) {
    this.ended = performance.now();
    this.problem = problem;
    this.node.setAttribute("aria-busy", "false");
    this.drawNow();
  }

  rate() {
    const end = this.ended || performance.now();
    const seconds = (end - this.firstToken) / 1000;
    return this.tokens.length > 1 && seconds > 0 ? (this.tokens.length - 1) / seconds : 0;
  }

  drawNow() {
    if (this.plain) this.body.textContent = this.text;
    else showMarkdown(this.body, this.text);
    if (this.reasoning !== "") {
      this.thinking.hidden = false;
      showMarkdown(this.thoughts, this.reasoning);
    }
    this.drawTokens();
    const parts = [];
    if (this.tokens.length > 0) {
      parts.push(`${integer(this.tokens.length)} tokens`, `${this.rate().toFixed(1)} a second`,
        `first after ${((this.firstToken - this.begun) / 1000).toFixed(2)} s`);
    } else if (this.ended === null) {
      parts.push("waiting");
    }
    if (this.finish === "length") parts.push("cut at the limit");
    if (this.finish && !["length", "stop"].includes(this.finish)) parts.push(this.finish);
    this.note.textContent = parts.join(" \u00b7 ");
    this.note.classList.remove("error");
    if (this.problem) {
      this.note.classList.add("error");
      this.note.textContent = [this.problem, ...parts].join(" \u00b7 ");
    }
  }

  // Tokens

  showTokens(wanted) {
    this.chips.hidden = !wanted;
    this.body.hidden = wanted;
    this.toggle.setAttribute("aria-pressed", String(wanted));
    this.drawTokens();
    if (!wanted) emit("focus-token", null);
  }

  drawTokens() {
    if (this.chips.hidden) return;
    const most = Math.min(this.tokens.length, kMostChips);
    for (let i = this.chipNodes.length; i < most; i++) {
      const token = this.tokens[i];
      const chip = el("span", { role: "option", tabindex: i === 0 ? "0" : "-1", "aria-selected": "false",
        title: this.describe(i) }, shown(token.text));
      this.chipNodes.push(chip);
      this.chips.append(chip);
      if (token.text.includes("\n")) this.chips.append(el("br"));
      this.shadeChip(chip, token);
    }
  }

  shadeChip(chip, token) {
    const alpha = this.shade ? this.shade(token, this) : 0;
    // Up to where the text can still be read on it, in light and dark.
    chip.style.backgroundColor = alpha > 0 ? `rgba(var(--heat), ${(0.1 + 0.45 * alpha).toFixed(3)})` : "";
  }

  // `shade(token, answer)` says how strongly a token is marked, 0 to 1; null: none is.
  setShade(shade) {
    this.shade = shade;
    this.chipNodes.forEach((chip, i) => this.shadeChip(chip, this.tokens[i]));
  }

  onKey(event) {
    const chips = this.chipNodes;
    const at = chips.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + 10, ArrowUp: at - 10, Home: 0,
      End: chips.length - 1 }[event.key];
    if (event.key === "Escape") emit("focus-token", null);
    if (to === undefined || at < 0) return;
    event.preventDefault();
    this.focusToken(Math.max(0, Math.min(chips.length - 1, to)));
  }

  focusToken(index) {
    this.chipNodes.forEach((chip, i) => chip.setAttribute("tabindex", i === index ? "0" : "-1"));
    this.chipNodes[index].focus();
  }

  markToken(index) {
    this.chipNodes.forEach((chip, i) => {
      chip.classList.toggle("chosen", i === index);
      chip.setAttribute("aria-selected", String(i === index));
    });
  }

  // The experts of a token: [[layer, [[expert, weight], ...]], ...].
  expertsOf(index) {
    const token = this.tokens[index];
    return this.layers.map((layer) => {
      const pairs = [];
      for (let slot = layer.offset; slot < layer.offset + layer.k; slot++) {
        if (token.experts[slot] >= 0) pairs.push([token.experts[slot], token.weights[slot] || 0]);
      }
      return [layer, pairs];
    });
  }

  describe(index) {
    const { logprob } = this.tokens[index];
    return logprob === null ? "" : `probability ${percent(Math.exp(logprob), 1)}`;
  }

  async copyText() {
    try {
      await navigator.clipboard.writeText(this.text);
      this.copy.textContent = "Copied";
    } catch {
      this.copy.textContent = "Not allowed";
    }
    setTimeout(() => { this.copy.textContent = "Copy"; }, 1500);
  }
}

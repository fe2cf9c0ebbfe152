// The page's Markdown, without a browser: node tests/page_markdown_test.mjs. Elements are plain objects
// here; what a text becomes is compared, hostile texts must stay texts, and none may take long.
import assert from "node:assert";

class Node {
  constructor(tag) {
    this.tagName = tag.toUpperCase();
    this.childNodes = [];
    this.attributes = {};
    this.style = {};
  }
  append(...children) { this.childNodes.push(...children); }
  setAttribute(name, value) { this.attributes[name] = value; }
  addEventListener() { throw new Error("Markdown needs no events"); }
  get lastChild() { return { remove: () => this.childNodes.pop() }; }
}
globalThis.document = { createElement: (tag) => new Node(tag) };
globalThis.EventTarget ??= class {};

const { showMarkdown } = await import("../web/serve/markdown.js");

const kTags = ["P", "H3", "H4", "H5", "H6", "UL", "OL", "LI", "PRE", "CODE", "STRONG", "EM", "DEL", "A", "BLOCKQUOTE",
  "HR", "BR", "DIV", "TABLE", "THEAD", "TBODY", "TR", "TH", "TD"];
const kAttributes = { href: /^(https?|mailto):/, target: /^_blank$/, rel: /^noopener noreferrer$/, class: /^(scroll|right|center)$/,
  tabindex: /^0$/, start: /^\d+$/ };

function shown(text) {
  const holder = new Node("div");
  showMarkdown(holder, text);
  return holder;
}

function check(node) {
  if (typeof node === "string") return;
  assert(kTags.includes(node.tagName), node.tagName);
  for (const [name, value] of Object.entries(node.attributes)) assert.match(String(value), kAttributes[name]);
  assert.deepEqual(Object.keys(node.style), []);
  node.childNodes.forEach(check);
}

const write = (node) => (typeof node === "string" ? node
  : `<${node.tagName.toLowerCase()}${node.attributes.href ? " " + node.attributes.href : ""}>${node.childNodes.map(write).join("")}</>`);
const html = (text) => shown(text).childNodes.map(write).join("");

const cases = [
  ["plain", "<p>plain</>"],
  ["a **b *c* d** `e*f*` ~~g~~", "<p>a <strong>b <em>c</> d</> <code>e*f*</> <del>g</></>"],
  ["snake_case_name 2 * 3 * 4 \\*x\\*", "<p>snake_case_name 2 * 3 * 4 *x*</>"],
  ["# A\n### B", "<h3>A</><h5>B</>"],
  ["- a\n- b\n  - c\n- d\n\n1. e\n2. f", "<ul><li>a</><li>b<ul><li>c</></></><li>d</></><ol><li>e</><li>f</></>"],
  ["> a\n> b\n\nc", "<blockquote><p>a\nb</></><p>c</>"],
  ["```py\nx = '<b>'\n\n# y\n```\nz", "<pre><code>x = '<b>'\n\n# y</></><p>z</>"],
  ["```\nnot closed", "<pre><code>not closed</></>"],
  ["|a|b|\n|-|-:|\n|1|**2**|", "<div><table><thead><tr><th>a</><th>b</></></><tbody><tr><td>1</><td><strong>2</></></></></></>"],
  ["[t](https://a.b/c_(d)) https://e.f/g.", "<p><a https://a.b/c_(d)>t</> <a https://e.f/g>https://e.f/g</>.</>"],
  ["[t](javascript:alert(1))", "<p>[t](javascript:alert(1))</>"],
  ["[t](data:text/html,x) [t](JaVaScRiPt:x) [t](//a.b)", "<p>[t](data:text/html,x) [t](JaVaScRiPt:x) [t](//a.b)</>"],
  ["![x](https://a.b/c.png)", "<p><a https://a.b/c.png>x</></>"],
  ["<img src=x onerror=alert(1)>", "<p><img src=x onerror=alert(1)></>"],
  ["a  \nb", "<p>a<br></>b</>"],
  ["---", "<hr></>"],
];
for (const [text, expected] of cases) assert.equal(html(text), expected, text);

// Growing by pieces gives what the whole text gives, and keeps the blocks that are done.
const whole = cases.map(([text]) => text).join("\n\n");
const growing = new Node("div");
let first = null;
for (let end = 1; end <= whole.length; end++) {
  showMarkdown(growing, whole.slice(0, end));
  if (end === 40) first = growing.childNodes[0];
}
assert.equal(growing.childNodes.map(write).join(""), html(whole));
assert.equal(growing.childNodes[0], first);

// Whatever the text, only harmless elements come of it.
let state = 12345;
const random = (n) => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return state % n;
};
const parts = ["<script>", "</p>", "[a](", "javascript:x", "https://a.b", ")", "](", "*", "**", "_", "`", "```", "\n", "\n\n", "- ",
  "  ", "1. ", "> ", "|", "|-|\n", "# ", "<img src=x onerror=y>", "\"", "'", "&lt;", "mailto:a@b", "!", "\\", "~~", "text ", "\u0000", "\u202e"];
for (let i = 0; i < 5000; i++) {
  let text = "";
  for (let length = random(30); length >= 0; length--) text += parts[random(parts.length)];
  shown(text).childNodes.forEach(check);
}

// No text takes long: none of these grows worse than its length times the depth that is shown.
const long = [..."*_`[>|#~-\\"].map((mark) => mark.repeat(20000));
long.push("*a ".repeat(7000), "**a ".repeat(5000), "[a](".repeat(5000), "> - ".repeat(5000), "# " + " ".repeat(20000) + "x",
  "```" + " ".repeat(20000) + "`", "a|b\n|" + "-|".repeat(10000) + "x", "http://" + ".".repeat(19000), "- a\n\n".repeat(5000),
  ("- a\n" + "\n".repeat(50) + "x\n").repeat(300), Array.from({ length: 500 }, (_, i) => " ".repeat(i * 2) + "- x").join("\n"));
for (const text of long) {
  const begun = performance.now();
  shown(text);
  assert(performance.now() - begun < 2000, text.slice(0, 20));
}
console.log("ok");

// Markdown as models write it, made into elements. Text becomes text nodes only, so whatever a model
// says, it is never markup; links go to http, https and mailto alone, and pictures are links. Depth
// is limited, and no part of the work grows faster than the text times that depth.
import { el } from "./base.js";

const kMostDepth = 8;
const kLongestInline = 20000;  // longer paragraphs stay plain
const kLongestMark = 2000;     // longer lines begin no block, longer addresses are no links

const kFence = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const kHeading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*$/;
const kRule = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const kQuote = /^ {0,3}> ?/;
const kItem = /^(\s*)([-*+]|\d{1,9}[.)])(\s+|$)/;
const kTableLine = /^ {0,3}\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;

const is = (pattern, line) => line.length <= kLongestMark && pattern.test(line);

// Blocks with the lines they are made of: { kind, lines, ... }.
function splitBlocks(lines) {
  const blocks = [];
  let i = 0;
  while (i < lines.length) {
    const begin = i;
    const line = lines[i];
    let block;
    const fence = is(kFence, line) ? kFence.exec(line) : null;
    if (line.trim() === "") {
      i++;
      continue;
    } else if (fence) {
      const mark = fence[1];
      for (i++; i < lines.length; i++) {
        const text = lines[i].trim();
        if (text.length >= mark.length && text === mark[0].repeat(text.length)) break;
      }
      block = { kind: "code", language: fence[2], body: lines.slice(begin + 1, i) };
      i++;
    } else if (is(kHeading, line)) {
      i++;
      block = { kind: "heading" };
    } else if (is(kRule, line)) {
      i++;
      block = { kind: "rule" };
    } else if (is(kQuote, line)) {
      while (i < lines.length && lines[i].trim() !== "" && !is(kFence, lines[i])) i++;
      block = { kind: "quote" };
    } else if (is(kItem, line)) {
      i = endOfList(lines, i);
      block = { kind: "list" };
    } else if (line.includes("|") && i + 1 < lines.length && lines[i + 1].includes("-")
               && is(kTableLine, lines[i + 1])) {
      while (i < lines.length && lines[i].includes("|")) i++;
      block = { kind: "table" };
    } else {
      i++;
      while (i < lines.length && !beginsBlock(lines[i])) i++;
      block = { kind: "paragraph" };
    }
    block.lines = lines.slice(begin, i);
    blocks.push(block);
  }
  return blocks;
}

function beginsBlock(line) {
  return line.trim() === "" || is(kFence, line) || is(kHeading, line) || is(kRule, line)
    || is(kQuote, line) || is(kItem, line);
}

const isOrdered = (line) => /^\s*\d/.test(line);
const indentOf = (line) => line.length - line.trimStart().length;

// A list goes on over lines that are indented more, and over empty lines before such lines or items.
function endOfList(lines, begin) {
  const indent = indentOf(lines[begin]);
  const ordered = isOrdered(lines[begin]);
  let end = begin + 1;
  for (let i = begin + 1; i < lines.length; i++) {
    if (lines[i].trim() === "") continue;
    const item = kItem.exec(lines[i]);
    const inside = indentOf(lines[i]) > indent || (item && item[1].length >= indent);
    const lazy = end === i && !beginsBlock(lines[i]);
    const other = item && item[1].length === indent && isOrdered(lines[i]) !== ordered;
    if (other || (!inside && !lazy)) break;
    end = i + 1;
  }
  return end;
}

function renderList(block, depth) {
  const first = kItem.exec(block.lines[0]);
  const ordered = /\d/.test(first[2]);
  const indent = first[1].length;
  const items = [];
  for (const line of block.lines) {
    const item = kItem.exec(line);
    if (item && item[1].length <= indent + 1) items.push([line.slice(item[0].length)]);
    else items[items.length - 1].push(line);
  }
  const start = ordered ? parseInt(first[2], 10) : 1;
  return el(ordered ? "ol" : "ul", { start: start === 1 ? null : start }, items.map((lines) => {
    const inner = Math.min(...lines.slice(1).filter((l) => l.trim() !== "").map(indentOf), 8);
    const own = [lines[0], ...lines.slice(1).map((l) => l.slice(Math.min(inner, indentOf(l))))];
    const nodes = renderBlocks(own, depth + 1);
    // An item of one paragraph is tight.
    return el("li", {}, nodes.length > 0 && nodes[0].tagName === "P" ? [...nodes[0].childNodes] : nodes[0],
      nodes.slice(1));
  }));
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function renderTable(block) {
  const head = cells(block.lines[0]);
  const align = cells(block.lines[1]).map((c) =>
    (c.endsWith(":") ? (c.startsWith(":") ? "center" : "right") : null));
  const row = (tag, line) => el("tr", {}, head.map((_, i) =>
    el(tag, { class: align[i] }, inline(cells(line)[i] || "", 0))));
  return el("div", { class: "scroll", tabindex: "0" }, el("table", {},
    el("thead", {}, row("th", block.lines[0])),
    el("tbody", {}, block.lines.slice(2).map((line) => row("td", line)))));
}

function renderBlock(block, depth) {
  if (block.kind === "code") {
    return el("pre", { tabindex: "0" }, el("code", {}, block.body.join("\n")));
  }
  if (block.kind === "heading") {
    const [, marks, text] = kHeading.exec(block.lines[0]);
    // The page has a heading of its own: the answer's begin below it.
    return el("h" + Math.min(6, marks.length + 2), {}, inline(text, 0));
  }
  if (block.kind === "rule") return el("hr");
  if (block.kind === "table") return renderTable(block);
  if (depth < kMostDepth && block.kind === "list") return renderList(block, depth);
  if (depth < kMostDepth && block.kind === "quote") {
    return el("blockquote", {}, renderBlocks(block.lines.map((l) => l.replace(kQuote, "")), depth + 1));
  }
  const nodes = [];
  block.lines.forEach((line, i) => {
    if (i > 0) nodes.push(/ {2}$|\\$/.test(block.lines[i - 1]) ? el("br") : "\n");
    nodes.push(line.trim().replace(/\\$/, ""));
  });
  // Emphasis may go over line ends: the texts between breaks are one.
  const parts = [];
  let text = "";
  for (const node of nodes) {
    if (typeof node === "string") {
      text += node;
    } else {
      parts.push(...inline(text, 0), node);
      text = "";
    }
  }
  return el("p", {}, parts, inline(text, 0));
}

const renderBlocks = (lines, depth) => splitBlocks(lines).map((block) => renderBlock(block, depth));

function safeLink(url) {
  try {
    const parsed = new URL(url);
    return ["http:", "https:", "mailto:"].includes(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}

const link = (url, children) => el("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, children);

const kInline = /(`+)|(\*\*|__|~~)|([*_])|(!?\[)|(https?:\/\/[^\s<>)\]"']+)|(\\[!-\/:-@[-`{-~])/g;
const kTags = { "**": "strong", "__": "strong", "~~": "del", "*": "em", "_": "em" };

const wordBefore = (text, at) => at > 0 && /\w/.test(text[at - 1]);

// Where an emphasis that begins at `from` ends, or -1. `nowhere` remembers what is not there any
// more, so that a long row of marks is looked at once.
function endOfMark(text, mark, from, nowhere) {
  if (nowhere.has(mark) || /\s/.test(text[from] || " ")) return -1;
  for (let at = text.indexOf(mark, from + 1); at >= 0; at = text.indexOf(mark, at + 1)) {
    const single = mark.length === 1;
    if (single && text[at + 1] === mark) {
      at++;
      continue;
    }
    if (/\s/.test(text[at - 1])) continue;
    if (mark[0] === "_" && /\w/.test(text[at + mark.length] || " ")) continue;
    return at;
  }
  nowhere.add(mark);
  return -1;
}

// A text with code, emphasis and links, as nodes.
function inline(text, depth) {
  if (depth > kMostDepth || text.length > kLongestInline) return [text];
  const nodes = [];
  const nowhere = new Set();
  let plain = 0, next = 0;
  const take = (begin, end, node) => {
    if (begin > plain) nodes.push(text.slice(plain, begin));
    if (node !== null) nodes.push(node);
    plain = end;
    next = end;
  };
  for (;;) {
    kInline.lastIndex = next;  // which the inner texts use, too
    const found = kInline.exec(text);
    if (found === null) break;
    next = kInline.lastIndex;
    const begin = found.index;
    const [mark, ticks, double, single, bracket, url, escaped] = found;
    if (escaped) {
      take(begin, begin + 2, escaped[1]);
    } else if (ticks) {
      const end = nowhere.has(ticks) ? -1 : text.indexOf(ticks, begin + ticks.length);
      if (end < 0) nowhere.add(ticks);
      else take(begin, end + ticks.length, el("code", {}, text.slice(begin + ticks.length, end).trim()));
    } else if (double || single) {
      if (mark[0] === "_" && wordBefore(text, begin)) continue;
      const end = endOfMark(text, mark, begin + mark.length, nowhere);
      if (end < 0) continue;
      take(begin, end + mark.length,
        el(kTags[mark], {}, inline(text.slice(begin + mark.length, end), depth + 1)));
    } else if (bracket) {
      const rest = text.slice(begin, begin + 2000);
      const parts = /^!?\[([^\[\]]*)\]\(\s*<?([^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)?)>?(?:\s+"[^"]*")?\s*\)/.exec(rest);
      const target = parts && safeLink(parts[2]);
      if (target) take(begin, begin + parts[0].length, link(target, inline(parts[1] || parts[2], depth + 1)));
    } else {
      const clean = url.slice(0, kLongestMark).replace(/[.,;:!?]+$/, "");
      const target = safeLink(clean);
      if (target) take(begin, begin + clean.length, link(target, clean));
    }
  }
  if (plain < text.length) nodes.push(text.slice(plain));
  return nodes;
}

// Shows `text` in `holder`. Called again with more text, it makes only the blocks anew that changed.
export function showMarkdown(holder, text) {
  const blocks = splitBlocks(text.replaceAll("\r\n", "\n").split("\n"));
  const sources = blocks.map((block) => block.lines.join("\n"));
  const before = holder.blockSources || [];
  let same = 0;
  while (same < before.length && same < sources.length && before[same] === sources[same]) same++;
  while (holder.childNodes.length > same) holder.lastChild.remove();
  holder.append(...blocks.slice(same).map((block) => renderBlock(block, 0)));
  holder.blockSources = sources;
}

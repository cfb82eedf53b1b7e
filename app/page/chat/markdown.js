/**
 * Markdown to elements, while it grows. Only the blocks that changed are drawn again, so that a selection,
 * a scrolled code block and the reader's eye stay where they are.
 *
 * What a model writes is not trusted: HTML is shown as text but for a few harmless tags, images become links
 * (loading one would tell another server what was said here), all that is left goes through DOMPurify, and what
 * cannot be read in time, or is too deep or too much, is shown as plain text (markdown-worker.js).
 */
import DOMPurify from "./vendor/purify.js";
import { copyButton } from "./copy.js";
import { h } from "./dom.js";
import { cut, flatten } from "./format.js";
import { render } from "./rendering.js";

const PATIENCE_MS = 300; // then a text that is not read yet is shown as it is
const PLAIN = 20_000; // characters of one element: a longer line is broken, for the browser's sake
const PROSE = 32; // characters of a cell that reads badly in a narrow column
const DIRECTED = "p, li, h3, h4, h5, h6, th, td, summary"; // each by its own first letter
const CONTAINERS = "ul, ol, blockquote, table"; // dir="auto" does not look into parts with a direction of their own
const RIGHT_TO_LEFT = /^[^\p{L}]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u;

const SANITISE = {
  ALLOWED_TAGS: [
    "a", "b", "blockquote", "br", "code", "del", "details", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "kbd", "li", "mark",
    "ol", "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align", "data-language"],
  ADD_URI_SAFE_ATTR: ["align", "data-language", "start"], // no addresses, so not to be read as such
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
  RETURN_TRUSTED_TYPE: true,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
});

/** An element that shows growing Markdown: `update(text)` with the whole text so far. */
export class MarkdownView {
  skipped = []; // segments that take too long to be read (rendering.js)
  isPlain = false;
  #text = "";
  #drawn = []; // what stands in each child
  #isDrawn = true;
  #onDrawn;

  /** `onDrawn` is called when something was drawn. */
  constructor(onDrawn) {
    this.element = h("div.markdown");
    this.#onDrawn = onDrawn;
  }

  get isEmpty() {
    return this.#drawn.length === 0;
  }

  /** Whether the newest text is shown as it will stay. */
  get isDrawn() {
    return this.#isDrawn;
  }

  update(source) {
    const text = flatten(source);
    if (text === this.#text) return;
    if (!text.startsWith(this.#text)) {
      this.skipped = [];
      this.isPlain = false;
    }
    const isFirst = this.#text === "";
    this.#text = text;
    this.#isDrawn = false;
    if (this.isPlain) return this.draw(plainBlocks(text), text);
    render(this, text);
    if (isFirst) setTimeout(() => this.isEmpty && this.#drawBlocks(plainBlocks(this.#text)), PATIENCE_MS);
  }

  /** `blocks`: `{raw, html}` of `text`, which may have grown since. */
  draw(blocks, text) {
    this.#drawBlocks(blocks);
    this.#isDrawn = text === this.#text;
    this.#onDrawn();
  }

  #drawBlocks(blocks) {
    const children = this.element.children;
    blocks.forEach((block, index) => {
      const shown = block.html ?? block.raw;
      if (this.#drawn[index] === shown) return;
      this.#drawn[index] = shown;
      const element = elementOf(block);
      if (index < children.length) children[index].replaceWith(element);
      else this.element.append(element);
    });
    this.#drawn.length = blocks.length;
    while (children.length > blocks.length) children[children.length - 1].remove();
  }
}

function plainBlocks(text) {
  return text ? [{ raw: text, html: null }] : [];
}

function elementOf({ raw, html }) {
  if (html === null) return plainText(raw);
  try {
    const element = block(html);
    if (element.textContent.trim() || element.querySelector("hr, br") || !raw.trim()) return element; // else it was tags alone
  } catch {
    // shown as it was written
  }
  return plainText(raw);
}

/** A text as it was written, in as many pieces as the browser needs to lay out what is seen of it only. */
export function textParts(source) {
  const text = flatten(source);
  if (text.length <= PLAIN) return [text];
  const parts = [];
  for (let at = 0; at < text.length; ) {
    let end = at + PLAIN;
    if (end < text.length) end = text.lastIndexOf("\n", end - 1) + 1; // at the end of a line, if there is one
    if (end <= at) end = at + cut(text.slice(at, at + PLAIN + 1), PLAIN).length;
    parts.push(h("div.part", { dir: "auto" }, text.slice(at, end)));
    at = end;
  }
  return parts;
}

export function plainText(source) {
  return h("div.block.plain", { dir: "auto" }, textParts(source));
}

function block(html) {
  const element = h("div.block");
  element.innerHTML = DOMPurify.sanitize(html, SANITISE);
  for (const pre of element.querySelectorAll("pre")) frame(pre);
  for (const table of element.querySelectorAll("table")) {
    const scroller = h("div.scroller", { tabIndex: 0, role: "region", "aria-label": "Table" });
    for (const cell of table.querySelectorAll("td")) if (cell.textContent.length > PROSE) cell.className = "prose";
    table.replaceWith(scroller);
    scroller.append(table);
  }
  for (const part of element.querySelectorAll(DIRECTED)) part.dir = "auto";
  for (const part of element.querySelectorAll(CONTAINERS)) part.dir = RIGHT_TO_LEFT.test(part.textContent.slice(0, 200)) ? "rtl" : "ltr";
  return element;
}

function frame(pre) {
  const language = pre.dataset.language;
  const box = h("div.code", { dir: "ltr" }, h("div.code-bar", {}, h("span", {}, language || "text"), copyButton("Copy code", () => pre.textContent)));
  pre.tabIndex = 0; // so that a wide one can be scrolled with the keyboard
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", `Code${language ? `, ${language}` : ""}`);
  pre.replaceWith(box);
  box.append(pre);
}

/**
 * Markdown to elements, while it grows. Only the blocks that changed are drawn again, so that a selection,
 * a scrolled code block and the reader's eye stay where they are.
 *
 * What a model writes is not trusted: HTML is shown as text but for a few harmless tags, images become links
 * (loading one would tell another server what was said here), and all that is left goes through DOMPurify.
 */
import { Marked } from "./vendor/marked.js";
import DOMPurify from "./vendor/purify.js";
import hljs from "./vendor/highlight.js";
import { copyButton } from "./copy.js";
import { h } from "./dom.js";

const HARMLESS = /^<\/?(br|b|i|u|s|em|strong|sub|sup|kbd|mark|small|details|summary)\s*\/?>\s*$/i;
const MOST_COLOURED = 30_000; // characters of one code block

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

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text) => text.replace(/[&<>"']/g, (character) => escapes[character]);

const marked = new Marked({
  gfm: true,
  breaks: false,
  renderer: {
    html: ({ text }) => (HARMLESS.test(text) ? text : escape(text)),
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    code: ({ text, lang }) => {
      const language = (lang ?? "").match(/^[\w+#.-]*/)[0];
      return `<pre data-language="${escape(language)}"><code class="hljs">${coloured(text, language)}</code></pre>`;
    },
    heading({ tokens, depth, level = Math.min(depth + 2, 6) }) {
      return `<h${level} class="h${depth}">${this.parser.parseInline(tokens)}</h${level}>`;
    },
  },
});

function coloured(code, language) {
  if (!hljs.getLanguage(language) || code.length > MOST_COLOURED) return escape(code);
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A") {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
});

/** An element that shows growing Markdown: `update(text)` with the whole text so far. */
export class MarkdownView {
  #drawn = []; // what stands in each child

  constructor() {
    this.element = h("div.markdown");
  }

  update(text) {
    const tokens = marked.lexer(text).filter((token) => token.type !== "space" && token.type !== "def");
    const blocks = this.element.children;
    let level = 2; // that of the answer's own heading; below it none is left out, whatever a model begins with
    tokens.forEach((token, index) => {
      if (token.type === "heading") token.level = level = Math.min(token.depth + 2, level + 1, 6);
      const shown = `${token.level ?? ""}${token.raw}`;
      if (this.#drawn[index] === shown) return;
      this.#drawn[index] = shown;
      const block = draw(token);
      if (index < blocks.length) blocks[index].replaceWith(block);
      else this.element.append(block);
    });
    this.#drawn.length = tokens.length;
    while (blocks.length > tokens.length) blocks[blocks.length - 1].remove();
  }
}

function draw(token) {
  const block = h("div.block");
  block.innerHTML = DOMPurify.sanitize(marked.parser([token]), SANITISE);
  for (const pre of block.querySelectorAll("pre")) frame(pre);
  for (const table of block.querySelectorAll("table")) {
    const scroller = h("div.scroller", { tabIndex: 0, role: "region", "aria-label": "Table" });
    table.replaceWith(scroller);
    scroller.append(table);
  }
  return block;
}

function frame(pre) {
  const language = pre.dataset.language;
  const box = h("div.code", {}, h("div.code-bar", {}, h("span", {}, language || "text"), copyButton("Copy code", () => pre.textContent)));
  pre.tabIndex = 0; // so that a wide one can be scrolled with the keyboard
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", `Code${language ? `, ${language}` : ""}`);
  pre.replaceWith(box);
  box.append(pre);
}

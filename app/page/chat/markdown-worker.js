/**
 * Reads Markdown in a thread of its own, so that no text, however odd, can hold up the page: what takes too long is
 * ended from outside (rendering.js).
 *
 * A request is `{number, text, skipped}`; `skipped` are the numbers of segments that took too long before. It is
 * answered by `{number, at}` before each segment, then by `{number, blocks}`: `{raw, html}` each, `html` being `null`
 * for what is to be shown as plain text.
 */
import { Marked } from "./vendor/marked.js";
import hljs from "./vendor/highlight.js";
import { mathsExtensions } from "./maths.js";
import { definitionsOf, segmentsOf } from "./segments.js";

const HARMLESS = /^<\/?(br|b|i|u|s|em|strong|sub|sup|kbd|mark|small|details|summary)\s*\/?>\s*$/i;
const MOST_CHARACTERS = 400_000; // of one text; what is behind them is plain
const MOST_COLOURED = 30_000; // characters of one code block
const MOST_TAGS = 20_000; // of one text, opening and closing; what the browser has to do for a block counts as some
const BLOCK_TAGS = 10;
const CODE_TAGS = 50;
const MOST_COLUMNS = 200; // of one table
const DEEPEST = 24; // lists and quotes in each other
const NESTED = new RegExp(String.raw`^(?:[ \t]*(?:>|[-*+][ \t]|\d{1,9}[.)][ \t])){${DEEPEST + 1}}`, "m");
const LONGEST_RUN = 400; // of one mark
const RUN = new RegExp(String.raw`([_*~\x60>\[\]<!&#|\\$^])\1{${LONGEST_RUN}}`);
const CODE = /^ {0,3}(\x60{3,}|~{3,})[^\n]*(?:\n|$)[\s\S]*?(?:^ {0,3}\1[\x60~]*[ \t]*$|(?![\s\S]))/gm;
const MOST_KEPT = 2_000_000; // characters of segments that were read before

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escape = (text) => text.replace(/[&<>"']/g, (character) => escapes[character]);

const marked = new Marked({
  gfm: true,
  breaks: false,
  extensions: mathsExtensions(escape),
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

/** Blocks of segments, by the segment and what was known before it. */
const kept = new Map();
let keptCharacters = 0;

function keep(key, read) {
  if (keptCharacters + key.length > MOST_KEPT) {
    kept.clear();
    keptCharacters = 0;
  }
  kept.set(key, read);
  keptCharacters += key.length;
}

/** `level` is that of the heading before: none is left out below it, whatever a model begins with. */
function read(segment, definitions, level) {
  const key = `${level}\n${definitions}\n${segment}`;
  let found = kept.get(key);
  if (!found) {
    found = isOdd(segment) ? plain(segment, level) : tokensOf(segment, definitions, level);
    keep(key, found);
  }
  return found;
}

const plain = (raw, level) => ({ blocks: [{ raw, html: null }], level });

/** Marks outside of code in numbers that mean nothing, and that Markdown's rules need seconds for. */
function isOdd(segment) {
  const isSo = (text) => RUN.test(text) || NESTED.test(text);
  return isSo(segment) && isSo(segment.replace(CODE, ""));
}

function tokensOf(segment, definitions, level) {
  try {
    const blocks = [];
    const lexer = new marked.Lexer(marked.defaults);
    if (definitions) Object.assign(lexer.tokens.links, linksOf(definitions));
    for (const token of lexer.lex(segment)) {
      if (token.type === "space" || token.type === "def") continue;
      if (token.type === "heading") token.level = level = Math.min(token.depth + 2, level + 1, 6);
      const isTooMuch = depthOf(token) > DEEPEST || token.header?.length > MOST_COLUMNS;
      const html = isTooMuch ? null : marked.parser([token]);
      blocks.push({ raw: token.raw, html });
    }
    return { blocks, level };
  } catch {
    return plain(segment, level); // too deep for the stack
  }
}

function linksOf(definitions) {
  const lexer = new marked.Lexer(marked.defaults);
  lexer.lex(definitions);
  return lexer.tokens.links;
}

function depthOf(token) {
  let deepest = 0;
  const open = [[token, 0]];
  while (open.length) {
    const [{ type, items, tokens }, depth] = open.pop();
    deepest = Math.max(deepest, depth);
    const inner = type === "list" || type === "blockquote" ? depth + 1 : depth;
    for (const child of [...(items ?? []), ...(tokens ?? [])]) open.push([child, inner]);
  }
  return deepest;
}

function blocksOf(text, skipped, tell) {
  const blocks = [];
  const definitions = definitionsOf(text);
  let level = 2; // that of the answer's own heading
  let tags = 0;
  segmentsOf(text.slice(0, MOST_CHARACTERS)).forEach((segment, at) => {
    tell(at);
    const found = skipped.includes(at) ? plain(segment, level) : read(segment, definitions, level);
    level = found.level;
    for (const block of found.blocks) {
      const more = tagsOf(block);
      const fits = tags + more <= MOST_TAGS;
      if (fits) tags += more;
      blocks.push(fits ? block : { raw: block.raw, html: null });
    }
  });
  if (text.length > MOST_CHARACTERS) blocks.push({ raw: text.slice(MOST_CHARACTERS), html: null });
  return joined(blocks);
}

function tagsOf({ html }) {
  if (html === null) return 0;
  return html.split("<").length + (html.split("<pre").length - 1) * CODE_TAGS + BLOCK_TAGS;
}

/** Plain blocks that follow each other are one. */
function joined(blocks) {
  const found = [];
  for (const block of blocks) {
    const last = found.at(-1);
    if (last && last.html === null && block.html === null) found[found.length - 1] = { raw: last.raw + block.raw, html: null };
    else found.push(block);
  }
  return found;
}

addEventListener("message", ({ data: { number, text, skipped } }) => {
  postMessage({ number, blocks: blocksOf(text, skipped, (at) => postMessage({ number, at })) });
});
postMessage({ isReady: true });

/**
 * Formulas are shown as they were written: `\( … \)`, `\[ … \]`, `$$ … $$` and `$ … $`. Markdown would take their
 * backslashes, stars and underscores for its own.
 */
const MOST = 4000; // characters of one formula

const BLOCK = new RegExp(String.raw`^ {0,3}(\\\[[\s\S]{0,${MOST}}?\\\]|\$\$[\s\S]{1,${MOST}}?\$\$)[ \t]*(?:\n+|$)`);
const ROUND = new RegExp(String.raw`^\\\((?:[^\\\n]|\\[^)\n]|\n(?!\n)){0,${MOST}}?\\\)`);
const SQUARE = new RegExp(String.raw`^\\\[(?:[^\\\n]|\\[^\]\n]|\n(?!\n)){0,${MOST}}?\\\]`);
const DOUBLE = new RegExp(String.raw`^\$\$(?:[^$\n]|\n(?!\n)){1,${MOST}}?\$\$`);
const SINGLE = /^\$(?!\s)((?:[^$\\\n]|\\[^\n]){0,400}?[^\s$\\])\$(?![\w$])/;
const IS_PRICE = /^\d[^\\^_=]*$/;
const IS_FORMULA = /[\\^_={}+<>]/; // `\[1\]` is a bracket that Markdown was told to leave alone

function inline(source) {
  if (source.startsWith("\\(")) return ROUND.exec(source)?.[0] ?? "\\("; // while it is still open, too
  if (source.startsWith("\\)")) return "\\)";
  if (source.startsWith("\\[")) {
    const found = SQUARE.exec(source)?.[0];
    return found && IS_FORMULA.test(found.slice(2, -2)) ? found : null;
  }
  if (source.startsWith("$$")) return DOUBLE.exec(source)?.[0] ?? null;
  const [found, formula] = SINGLE.exec(source) ?? [];
  return found && !IS_PRICE.test(formula) ? found : null;
}

export function mathsExtensions(escape) {
  const shown = ({ raw }) => `<code class="maths">${escape(raw.trim())}</code>`;
  return [
    {
      name: "mathsBlock",
      level: "block",
      start: (source) => {
        const newline = source.search(/\n {0,3}(?:\\\[|\$\$)/);
        return newline < 0 ? undefined : newline + 1;
      },
      tokenizer(source) {
        const found = BLOCK.exec(source);
        return found ? { type: "mathsBlock", raw: found[0], text: found[1] } : undefined;
      },
      renderer: ({ text }) => `<p class="maths">${escape(text)}</p>`,
    },
    {
      name: "maths",
      level: "inline",
      start: (source) => source.match(/\\[()[]|\$/)?.index,
      tokenizer(source) {
        const raw = inline(source);
        return raw ? { type: "maths", raw } : undefined;
      },
      renderer: (token) => (token.raw.length > 2 ? shown(token) : escape(token.raw)),
    },
  ];
}

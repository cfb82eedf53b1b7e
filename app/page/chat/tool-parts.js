/** What a call was given and what came of it, as elements. Everything in them is text, cut to a size that can be drawn. */
import { readResult } from "./acting.js";
import { h } from "./dom.js";
import { MOST, valueText, visible, visibleLine } from "./visible.js";

const MOST_FIELDS = 50;
const MOST_LINES = 1000;
const HEADLINES = ["command", "path", "url", "query", "agent", "question", "handle"];

/** The argument that says what a call is about, on one line. */
export function headline(given) {
  if (given === null || typeof given !== "object") return given === undefined ? "" : visibleLine(valueText(given));
  const name = HEADLINES.find((one) => typeof given[one] === "string") ?? Object.keys(given).find((one) => typeof given[one] === "string");
  const parts = [given.method, name && given[name], name === "agent" ? given.message : null];
  return visibleLine(parts.filter((part) => typeof part === "string").join(" "));
}

/** A text that can be scrolled with the keyboard; code and output read from left to right, whatever letters they have. */
export function pre(text, label, selector = "pre.tool-text") {
  return h(selector, { tabIndex: 0, role: "region", "aria-label": label, dir: "ltr" }, text);
}

export function argumentsView(given) {
  if (given === null || typeof given !== "object" || Array.isArray(given)) return pre(visible(valueText(given)), "Arguments");
  const names = Object.keys(given);
  const rows = names.slice(0, MOST_FIELDS).flatMap((name) => {
    const value = valueText(given[name]);
    const isLong = value.length > 80 || value.includes("\n");
    return [h("dt", {}, visibleLine(name, 60)), h("dd", {}, isLong ? pre(visible(value), visibleLine(name, 60)) : h("code", { dir: "ltr" }, visible(value)))];
  });
  const more = names.length > MOST_FIELDS ? h("p.faint", {}, `… ${names.length - MOST_FIELDS} more fields`) : null;
  return h("div", {}, names.length ? h("dl.fields", {}, rows) : h("p.faint", {}, "None"), more);
}

const KINDS = { "+": "add", "-": "del", "@": "hunk" };

/** A unified diff, its lines coloured by their first sign. */
export function diffView({ diff, diff_is_cut: isCut }) {
  const lines = visible(diff, MOST * 5).replace(/\n$/, "").split("\n");
  const shown = lines.slice(0, MOST_LINES).map((line) => {
    const isHeader = line.startsWith("+++ ") || line.startsWith("--- ");
    const kind = isHeader ? "hunk" : (KINDS[line[0]] ?? "same");
    return h(`span.${kind}`, {}, `${line}\n`);
  });
  if (lines.length > MOST_LINES) shown.push(h("span.hunk", {}, `… ${lines.length - MOST_LINES} more lines\n`));
  if (isCut) shown.push(h("span.hunk", {}, "… the rest is left out\n"));
  return pre(shown, "Changes", "pre.tool-text.diff");
}

export function diffCounts(diff) {
  const lines = String(diff).split("\n", 20_000);
  const added = lines.filter((line) => line.startsWith("+") && !line.startsWith("+++ ")).length;
  const removed = lines.filter((line) => line.startsWith("-") && !line.startsWith("--- ")).length;
  return `Changes, ${added} added, ${removed} removed`;
}

/** A result whose changes are shown apart. */
export function withoutDiff(result) {
  if (result === null || typeof result !== "object" || typeof result.diff !== "string") return result;
  const { diff, diff_is_cut: isCut, ...rest } = result;
  return rest;
}

/** What came back; of a large result the start, and a way to read the rest. */
export function resultView(call, conversation) {
  const shown = pre(visible(valueText(withoutDiff(call.result))), "Result");
  return call.resultId ? h("div", {}, shown, new StoredResult(call, conversation).element) : shown;
}

/** Reads a stored result piece by piece: one piece is shown at a time, so that its size does not matter. */
class StoredResult {
  #starts = [0];

  constructor(call, conversation) {
    this.call = call;
    this.conversation = conversation;
    const button = (label, onclick) => h("button.button.small", { type: "button", onclick }, label);
    this.grep = h("input", { type: "search", dir: "auto", placeholder: "Lines with", "aria-label": "Show lines of the result with" });
    this.back = button("Back", () => this.#go(-1));
    this.next = button("Next", () => this.#go(1));
    this.text = pre("", "Part of the whole result");
    this.where = h("p.faint", { role: "status" });
    const search = h("form.tool-search", { onsubmit: (event) => { event.preventDefault(); this.#starts = [0]; this.#load(); } }, this.grep, button("Read", null));
    search.lastChild.type = "submit";
    this.reader = h("div", { hidden: true }, this.text, h("div.tool-buttons", {}, this.back, this.next));
    const size = call.bytes ? ` It has ${call.bytes.toLocaleString("en")} bytes.` : "";
    this.element = h("div.stored-result", {}, h("p.faint", {}, `This is its beginning.${size}`), search, this.reader, this.where);
  }

  #go(step) {
    if (step < 0) this.#starts.pop();
    else this.#starts.push(this.following);
    this.#load();
  }

  async #load() {
    try {
      const piece = await readResult(this.conversation, this.call.resultId, { offset: this.#starts.at(-1), grep: this.grep.value });
      this.following = piece.next_offset;
      this.text.textContent = visible(piece.text, MOST * 5);
      this.reader.hidden = false;
      this.where.textContent = piece.text ? `From character ${piece.offset.toLocaleString("en")} on; it has ${piece.bytes.toLocaleString("en")} bytes.` : "Nothing found.";
      this.back.disabled = this.#starts.length < 2;
      this.next.disabled = piece.next_offset === null || piece.next_offset === undefined;
    } catch (error) {
      this.where.textContent = error.message;
    }
  }
}

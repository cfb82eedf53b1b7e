/**
 * Texts of models and programs, fit to be judged by a person: what would hide or reorder them is shown by its number,
 * what has no end is cut.
 */
import { cut, flatten } from "./format.js";

export const MOST = 20_000; // characters of one text in a card

// Direction marks reorder what is read, other controls hide it. Joiners (U+200C, U+200D) are left: letters and faces need them.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

/** No more than `most` characters; says how many are left out. */
export function visible(text, most = MOST) {
  const whole = String(text ?? "");
  const shown = cut(whole, most).replace(/\r\n/g, "\n");
  const safe = flatten(shown).replace(HIDDEN, (sign) => `⟨U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
  return whole.length > most ? `${safe}\n… ${(whole.length - most).toLocaleString("en")} more characters` : safe;
}

/** JSON for a field that is edited: nothing in it is hidden, and it is the same value. */
export function escaped(json) {
  return json.replace(HIDDEN, (signs) => [...Array(signs.length).keys()].map((at) => `\\u${signs.charCodeAt(at).toString(16).padStart(4, "0")}`).join(""));
}

/** On one line. */
export function visibleLine(text, most = 160) {
  const line = String(text ?? "").slice(0, most * 4).replace(/\s+/g, " ").trim();
  return visible(line.length > most ? `${cut(line, most - 1)}…` : line, most * 4);
}

const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])/g;

/** What would stand on a terminal: without colours, and with the last state of lines that were written over. */
export function terminal(text) {
  const lines = text.replace(ESCAPES, "").split("\n");
  return visible(lines.map((line) => line.replace(/\r+$/, "").replace(/^.*\r/s, "").replace(/[^\b]\u0008/g, "")).join("\n"), Infinity);
}

/** A value as a person reads it: texts as they are, everything else as JSON. */
export function valueText(value) {
  if (typeof value === "string") return value;
  return JSON.stringify(value, null, 2) ?? "";
}

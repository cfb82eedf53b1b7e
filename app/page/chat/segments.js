/**
 * Cuts Markdown at blank lines where no block can go on, so that each segment can be read by itself: a growing
 * answer is read again from its last segment only, and one that cannot be read does not take the others with it.
 */
const FENCE = /^(?:[ \t]{0,8}(?:[-*+>]|\d{1,9}[.)])){0,4}[ \t]*(`{3,}|~{3,})([^\n]*)$/;
const CONTINUES = /^(?:[ \t]|[-*+](?:[ \t]|$)|\d{1,9}[.)](?:[ \t]|$))/; // below a blank line: of a list, or of code that is indented
const DEFINITION = /^ {0,3}\[[^\]\n]{1,200}\]:[^\n]*$/gm;

/** Together the segments are the text. */
export function segmentsOf(text) {
  const segments = [];
  let begin = 0; // of the segment
  let fence = ""; // the marks that opened the code block we are in
  let isAfterBlank = false;
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf("\n", at);
    const next = newline < 0 ? text.length : newline + 1;
    const line = text.slice(at, Math.min(newline < 0 ? text.length : newline, at + 300)); // what a line is shows at its beginning
    const isBlank = line.trim() === "";
    if (isAfterBlank && !isBlank && !fence && !CONTINUES.test(line)) {
      segments.push(text.slice(begin, at));
      begin = at;
    }
    const [, marks, rest] = FENCE.exec(line) ?? [];
    if (marks && !fence && !(marks[0] === "`" && rest.includes("`"))) fence = marks;
    else if (marks && fence && marks[0] === fence[0] && marks.length >= fence.length && rest.trim() === "") fence = "";
    isAfterBlank = isBlank && !fence;
    at = next;
  }
  if (begin < text.length) segments.push(text.slice(begin));
  return segments;
}

/** Link definitions, which may stand in another segment than the links that use them. */
export function definitionsOf(text) {
  return (text.match(DEFINITION) ?? []).join("\n");
}

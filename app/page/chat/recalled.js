/** What long-term memory had to say to a message: each memory with its age, how well it fitted, and where it came from. */
import { h } from "./dom.js";
import { ago, flatten, shorten } from "./format.js";

const MOST_CHARACTERS = 400;
const KINDS = { note: "Note", summary: "Summary" };

export function recalledWords(memories) {
  return memories.length === 1 ? "Remembered one thing" : `Remembered ${memories.length} things`;
}

/** What the model was given instead of older messages: the words of a summary frame. */
export function summaryWords({ status, left_out: count = 0, message = "" }) {
  const many = `${count} older message${count === 1 ? " is" : "s are"} left out`;
  if (status === "failed") return `Older messages could not be summarised: ${message}${count ? `; ${many}` : ""}.`;
  if (status === "no_room") return `The message is too long for older ones beside it${count ? `: ${many}` : ""}.`;
  return count ? `${many}.` : "Older messages were summarised.";
}

/** How well a memory fits, for people; the API and the inspector have the number. */
function fit(score) {
  return score >= 0.2 ? "strong match" : score >= 0.05 ? "fair match" : "weak match";
}

/** A list of the memories; those of another session lead there. */
export function recalledList(memories, { agent, sessionId }) {
  return h("ul.recalled", {}, ...memories.map((memory) => {
    const { session_id: source } = memory;
    const about = [KINDS[memory.kind] ?? (memory.role === "assistant" ? "Answer" : "Message"), ago(memory.created_at), fit(memory.score)];
    const link = source && source !== sessionId ? h("a", { href: `#/${encodeURIComponent(agent)}/${encodeURIComponent(source)}` }, "open its session") : null;
    return h("li", { dir: "auto" }, flatten(shorten(memory.text, MOST_CHARACTERS)), h("span.faint", {}, about.filter(Boolean).join(" · "), link ? " · " : null, link));
  }));
}

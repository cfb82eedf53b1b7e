/** Numbers and times in words. */

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function count(number) {
  return number === null || number === undefined ? "–" : number.toLocaleString("en");
}

const STEPS = [[60, "second"], [60, "minute"], [24, "hour"], [7, "day"], [5, "week"], [12, "month"], [Infinity, "year"]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });

/** "2 hr. ago" of an ISO time. */
export function ago(iso) {
  if (!iso) return "";
  let value = (Date.parse(iso) - Date.now()) / 1000;
  if (Math.abs(value) < 45) return "now";
  for (const [size, unit] of STEPS) {
    if (Math.abs(value) < size) return relative.format(Math.round(value), unit);
    value /= size;
  }
  return "";
}

/** "14:03:07.214", in the reader's zone. */
export function clock(iso) {
  if (!iso) return "";
  const time = new Date(iso);
  const two = (number) => String(number).padStart(2, "0");
  const ms = String(time.getMilliseconds()).padStart(3, "0");
  return `${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${ms}`;
}

/** The beginning of a text; half of a character outside the basic plane is left out: it cannot be sent. */
export function cut(text, most) {
  const isHalf = most > 0 && most < text.length && /[\ud800-\udbff]/.test(text[most - 1]);
  return text.slice(0, isHalf ? most - 1 : most);
}

export function shorten(text, most) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > most ? `${cut(line, most - 1).trimEnd()}…` : line;
}

/** Piles of accents on one letter, for which a browser would need minutes, become lower ones. */
export function flatten(text) {
  return text.replace(/(\p{M}{24})\p{M}+/gu, "$1…");
}

/** What a lost connection means for an answer: without a reader the server stops it after `graceMs`, `null` is never. */
export function lostWords(lostMs, graceMs) {
  if (graceMs === null || lostMs < graceMs) return "Connection lost. The answer is still being written.";
  return "Connection lost. Without a reader the server stops the answer.";
}

const ENDINGS = {
  cancelled: "Stopped",
  "cancelled/replaced": "Stopped: a newer message took its place",
  "cancelled/disconnected": "Stopped: no reader was left",
  "cancelled/session_terminated": "Stopped: the session was deleted",
  interrupted: "Interrupted",
  "interrupted/crash": "Interrupted: the server went down",
  "interrupted/shutdown": "Interrupted: the server was restarted",
  failed: "Failed",
  "failed/llm_error": "The model failed",
  "failed/llm_timeout": "The model was too slow",
  "failed/storage_unavailable": "The answer could not be stored",
  replaced: "Replaced by a newer answer",
  withdrawn: "Withdrawn",
};

const CUTS = {
  length: "The model reached its limit of tokens: the answer is cut",
  content_filter: "A content filter withheld the answer or its rest",
  refusal: "The model refused to answer",
};

/** How a turn ended, for a reader; `""` when it is whole or open. */
export function ending({ status, reason, finishReason, text }) {
  if (status === "completed") return CUTS[finishReason] ?? (finishReason && !text ? "The model ended without a word" : "");
  if (reason?.startsWith("limit_")) return "Stopped: its budget is used up";
  return ENDINGS[`${status}/${reason}`] ?? ENDINGS[status] ?? "";
}

/** The heartbeat's word for what the server does just now. */
export function phaseWords(phase) {
  if (phase?.startsWith("tool ")) return `Running ${phase.slice(5)}`;
  const words = {
    queued: "Queued: waits for the answer above.",
    recalling: "Recalling memories",
    model: "Waiting for the model",
    "waiting for approval": "Waiting for your approval",
  };
  return words[phase] ?? (phase && phase !== "idle" ? phase : "Working");
}

/** What a waiting turn waits for. */
export function waitingWords(waitingFor) {
  const words = {
    input: "Waiting for your answer",
    result: "Waiting for a result from elsewhere",
    connect: "Waiting for a connection",
  };
  return words[waitingFor] ?? "Waiting for your approval";
}

const BUDGETS = { steps: "steps", calls: "calls of tools", tokens: "tokens", seconds: "seconds", cost: "of its cost" };
const FOLLOWS = {
  warn: "",
  land: " The model is told to conclude.",
  ask: " It goes on when you allow it.",
  stop: " The answer is stopped.",
};

/** A budget frame in a sentence. */
export function budgetWords({ kind, used, limit, action }) {
  const isOfSession = kind.startsWith("session_");
  const name = isOfSession ? kind.slice("session_".length) : kind;
  const share = limit > 0 ? Math.round((used / limit) * 100) : 100;
  return `Budget: ${count(used)} of ${count(limit)} ${BUDGETS[name] ?? name}${isOfSession ? " of the session" : ""} used (${share} %).${FOLLOWS[action] ?? ""}`;
}

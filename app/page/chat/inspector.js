/** The session from inside: ids, tokens, the times of its turns, and every event. */
import { call, sessionPath } from "./api.js";
import { copyButton } from "./copy.js";
import { h, iconButton } from "./dom.js";
import { clock, count, duration, ending, flatten, shorten } from "./format.js";
import { recalledList, recalledWords } from "./recalled.js";
import { rowsOf, waterfall } from "./waterfall.js";

const PAGE = 200;
const MOST_TURNS = 10;

export class Inspector {
  #conversation = null;
  #events = [];
  #next = 0;
  #load = 0;
  #over = new Map(); // turns that are over, by id: they do not change any more

  constructor(root, { onClose }) {
    this.root = root;
    this.facts = h("dl.facts");
    this.turns = h("div");
    this.events = h("ol.events", { tabIndex: 0, "aria-label": "Events" });
    this.more = h("button.button.wide", { type: "button", hidden: true, onclick: () => this.#more() }, "More events");
    root.append(
      h("div.inspector-head", {}, h("h2", {}, "Session"), iconButton("close", "Close the inspector", onClose)),
      h("div.inspector-body", { tabIndex: 0, role: "region", "aria-label": "Session inspector" },
        this.facts, h("h3", {}, "Turns"), this.turns, h("h3", {}, "Events"), this.events, this.more),
    );
  }

  show(conversation) {
    this.#conversation = conversation;
    this.#events = [];
    this.#next = 0;
    this.#over = new Map();
    this.refresh();
  }

  /** Reads what is new. Called when opened, and at the end of each turn. */
  async refresh() {
    const conversation = this.#conversation;
    if (this.root.hidden || !conversation || conversation.gone) return;
    const load = ++this.#load;
    const session = await call("GET", sessionPath(conversation.agent, conversation.sessionId));
    if (load !== this.#load) return;
    conversation.setSession(session);
    this.#drawFacts(session);
    await Promise.all([this.#readTurns(load), this.#more(load)]);
  }

  /** The newest turns that are over. Asked for by themselves: their last events may be many pages away. */
  async #readTurns(load) {
    const { agent, sessionId, turns } = this.#conversation;
    const newest = [...turns.values()].filter((turn) => turn.id.startsWith("turn")).slice(-MOST_TURNS).reverse();
    const found = await Promise.all(newest.map(async ({ id, user }) => {
      const path = `${sessionPath(agent, sessionId)}/turns/${encodeURIComponent(id)}`;
      const turn = this.#over.get(id) ?? (await call("GET", path).catch(() => null));
      if (turn?.finished_at) this.#over.set(id, turn);
      return turn?.finished_at ? { ...turn, question: flatten(shorten(user?.text ?? id, 200)) } : null;
    }));
    if (load === this.#load) this.#drawTurns(found.filter(Boolean));
  }

  async #more(load = ++this.#load) {
    const { agent, sessionId } = this.#conversation;
    const page = await call("GET", `${sessionPath(agent, sessionId)}/events?limit=${PAGE}&after=${this.#next}`);
    if (load !== this.#load) return;
    this.#events.push(...page.events);
    this.#next = page.events.at(-1)?.seq ?? this.#next;
    this.more.hidden = page.next_after === null;
    this.#drawEvents();
  }

  #drawFacts(session) {
    const { usage } = session;
    const rows = [
      ["Id", h("span.with-copy", {}, h("code", {}, session.session_id), copyButton("Copy the session's id", () => session.session_id))],
      ["State", session.ending ? "ending" : session.status],
      ["User", session.user_id],
      ["Created", new Date(session.created_at).toLocaleString()],
      ["Expires", session.expires_at ? new Date(session.expires_at).toLocaleString() : "never"],
      ["Messages", count(session.message_count)],
      ["Tokens", `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out`],
    ];
    this.facts.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }

  #drawTurns(turns) {
    const cards = turns.map((turn) => {
      const { usage } = turn;
      const rows = rowsOf(turn);
      const rate = speed(turn);
      return h("section.turn-card", {},
        h("h4", {}, turn.question),
        h("p.faint", {}, [
          ending({ ...turn, finishReason: turn.finish_reason, text: turn.message_id }) || "Completed",
          usage ? `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out (${usage.source})` : null,
          rate ? `${rate} tokens/s` : null,
        ].filter(Boolean).join(" · ")),
        rows.length ? waterfall(rows) : h("p.faint", {}, "No times are known."),
        turn.memory?.memories?.length
          ? h("details", {}, h("summary", {}, recalledWords(turn.memory.memories)), recalledList(turn.memory.memories, this.#conversation))
          : null,
      );
    });
    this.turns.replaceChildren(...(cards.length ? cards : [h("p.faint", {}, "No turn has ended yet.")]));
  }

  #drawEvents() {
    this.events.replaceChildren(...merged(this.#events).map((event) =>
      h(`li.event.event-${event.type}`, {},
        h("span.seq", {}, event.first === event.last ? String(event.last) : `${event.first}–${event.last}`),
        h("span.kind", {}, event.type.replaceAll("_", " ")),
        h("time", {}, clock(event.at)),
        event.words ? h("span.words", {}, event.words) : null)));
  }
}

function speed({ timings, usage }) {
  const seconds = timings ? (timings.total_ms - timings.first_token_ms) / 1000 : 0;
  return usage && timings.first_token_ms && seconds > 0.05 ? (usage.completion_tokens / seconds).toFixed(1) : null;
}

/** Consecutive pieces of text are one line. */
function merged(events) {
  const lines = [];
  for (const { seq, type, created_at: at, chunk, ...rest } of events) {
    const last = lines.at(-1);
    if ((type === "text" || type === "thinking") && last?.type === type) {
      last.last = seq;
      last.text += chunk;
      last.words = excerpt(last.text);
    } else {
      lines.push({ first: seq, last: seq, type, at, text: chunk ?? "", words: chunk ? excerpt(chunk) : describe(rest) });
    }
  }
  return lines;
}

function excerpt(text) {
  return flatten(text.length > 90 ? `${text.slice(0, 60)} … ${text.slice(-24)}` : text);
}

function describe({ message, status, reason, timings, text, memories, tool, name, waiting_for: waitingFor, why }) {
  const parts = [message ? shorten(flatten(message), 400) : null, tool?.name ?? name, status, waitingFor, why ? shorten(flatten(why), 200) : null, memories?.length ? recalledWords(memories) : null, reason, text ? excerpt(text) : null, timings?.total_ms ? duration(timings.total_ms) : null];
  return parts.filter(Boolean).join(" · ");
}

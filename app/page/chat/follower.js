/**
 * Keeps a conversation true to its session: one stream, opened again with its cursor whenever it breaks.
 *
 * The history up to the number a stream begins at comes from `GET …/messages`, everything after it from the
 * stream: nothing is told twice, nothing is missed. A stream is held while the tab is seen or a turn is open.
 */
import { Refused, call, request, sessionPath, sleep } from "./api.js";
import { events } from "./sse.js";
import { takeSlot } from "./slots.js";

const DEAD_AFTER_MS = 40_000; // heartbeats come every 15 s at the latest
const LONGEST_PAUSE_MS = 10_000;
const HIDDEN_MS = 5_000;
const POLL_BUSY_MS = 1_000;
const POLL_IDLE_MS = 4_000;

export class Follower {
  #path;
  #stop = new AbortController();
  #attempt = null; // aborts the stream, or the pause before the next one
  #cursor = null;
  #pause = 1000;
  #failures = 0;
  #seen = null; // last_seq of the last poll
  #hiding = 0;
  #listener;
  #isKnown;

  /** `tell({state, retryAt, error})`: `live`, `polling`, `lost` (with the time of the next try), `idle`, `over`. */
  constructor(conversation, tell) {
    this.conversation = conversation;
    this.state = "new";
    this.isStreaming = false;
    this.#path = sessionPath(conversation.agent, conversation.sessionId);
    this.#listener = tell;
    /** Settled as soon as it is known whether this tab has a stream. */
    this.known = new Promise((resolve) => (this.#isKnown = resolve));
    const signal = this.#stop.signal;
    addEventListener("online", () => this.#hurry(), { signal });
    addEventListener("offline", () => this.#attempt?.abort("offline"), { signal });
    addEventListener("pageshow", () => this.#hurry(), { signal });
    document.addEventListener("visibilitychange", () => this.#onVisibility(), { signal });
    conversation.addEventListener("finished", () => document.hidden && this.#onVisibility(), { signal });
  }

  stop() {
    this.#stop.abort("stopped");
    this.#attempt?.abort("stopped");
    clearTimeout(this.#hiding);
  }

  /** A message was sent: do not wait for the next poll. */
  wake() {
    if (this.state === "polling" || this.state === "idle") this.#attempt?.abort("woken");
  }

  #tell(news) {
    this.state = news.state;
    this.#isKnown();
    this.#listener(news);
  }

  async run() {
    while (!this.#stop.signal.aborted) {
      this.#attempt = new AbortController();
      try {
        const wait = this.#isWanted ? await this.#once() : this.#idle();
        if (wait === null) return;
        if (wait) await sleep(wait, this.#attempt.signal);
      } catch (error) {
        if (this.#attempt.signal.aborted && this.#attempt.signal.reason !== "offline") continue;
        if (!(await this.#survive(error))) return;
      } finally {
        this.isStreaming = false;
      }
    }
  }

  get #isWanted() {
    return !document.hidden || this.conversation.isBusy;
  }

  #idle() {
    this.#tell({ state: "idle" });
    return 2 ** 30;
  }

  /** A stream until it ends, or one poll. Returns how long to wait; `null`: there is nothing more to come. */
  async #once() {
    const release = await takeSlot();
    if (!release) return this.#poll();
    try {
      return await this.#stream();
    } finally {
      release();
    }
  }

  // -- streaming ------------------------------------------------------------------------------------

  async #stream() {
    const cursor = this.#cursor;
    const signal = this.#attempt.signal;
    const headers = { Accept: "text/event-stream", ...(cursor === null ? {} : { "Last-Event-ID": cursor }) };
    const response = await request("GET", `${this.#path}/messages/stream`, { headers, signal });
    if (response.status === 204) return this.#readOver();
    let timer = 0;
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.#attempt.abort("dead"), DEAD_AFTER_MS);
    };
    watch();
    try {
      let isFirst = true;
      for await (const event of events(response.body)) {
        watch();
        if (event.retry) this.#pause = event.retry;
        const begin = isFirst && /^cursor (\S+)$/.exec(event.comment ?? "");
        if (begin) {
          isFirst = false;
          if (!(await this.#begin(begin[1], cursor))) return 0;
          continue;
        }
        if (this.#take(event)) return this.#pause;
      }
    } finally {
      clearTimeout(timer);
    }
    if (this.conversation.gone || ["ended", "expired"].includes(this.conversation.status)) return this.#over();
    throw new TypeError("The stream was cut.");
  }

  /** The stream stands at `id`. False: it cannot go on from our cursor; start over without one. */
  async #begin(id, cursor) {
    if (cursor === null) {
      await this.#load(Number(id));
      this.#cursor = id;
    } else if (id !== cursor && id !== String(Number.parseInt(cursor, 10) - 1)) {
      this.#cursor = null; // (the second case: a cursor inside an event, such as 41:12, stands at 40)
      return false;
    }
    this.#failures = 0;
    this.isStreaming = true;
    this.#tell({ state: "live" });
    return true;
  }

  /** Whether the server asked us to come back later. */
  #take(event) {
    if (event.comment !== undefined) {
      const beat = /^heartbeat (\{.*\})$/.exec(event.comment);
      if (beat) this.conversation.heard(JSON.parse(beat[1]));
      return false;
    }
    if (event.data === undefined || event.data === "[DONE]") return false;
    const frame = JSON.parse(event.data);
    if (frame.type === "reconnect") {
      if (isAfter(String(frame.after), this.#cursor)) this.#cursor = String(frame.after);
      this.#tell({ state: "lost", retryAt: Date.now() + this.#pause });
      return true;
    }
    if (event.id !== undefined) {
      if (!isAfter(event.id, this.#cursor)) return false; // had it already
      this.#cursor = event.id;
    }
    this.conversation.apply(frame, event.id === undefined ? undefined : Number.parseInt(event.id, 10));
    if (frame.type === "approval_decided" && frame.edited) this.#lookUp(frame.call_id);
    if (frame.type === "waiting") this.#lookUpOpen(frame.turn_id);
    if (frame.type === "turn_finished" && frame.message_id) this.#check(this.conversation.turns.get(frame.turn_id));
    return false;
  }

  async #check(turn) {
    if (turn.parts.length) return;
    const page = await call("GET", `${this.#path}/messages`).catch(() => null);
    if (page) this.conversation.fill(turn, page);
  }

  // -- asking ---------------------------------------------------------------------------------------

  async #load(upto) {
    const [session, page] = await Promise.all([call("GET", this.#path), call("GET", `${this.#path}/messages`)]);
    this.conversation.session = session;
    this.conversation.reset(page, upto);
    this.#explain();
  }

  async #poll() {
    const conversation = this.conversation;
    const session = await call("GET", this.#path);
    if (session.last_seq !== this.#seen || session.turn) {
      this.#seen = session.last_seq;
      const [page, acts] = await Promise.all([call("GET", `${this.#path}/messages`), session.turn ? this.#pollCalls(session.turn) : []]);
      conversation.replace(session, page, acts);
      this.#explain();
    }
    this.#cursor = null; // the next stream starts over
    this.#failures = 0;
    this.#tell({ state: "polling" });
    if (session.status !== "active") return this.#over();
    return session.turn || session.queued || conversation.isBusy ? POLL_BUSY_MS : POLL_IDLE_MS;
  }

  async #readOver() {
    await this.#load(Infinity);
    return this.#over();
  }

  #over() {
    this.#tell({ state: "over" });
    return null;
  }

  /** With which arguments a call runs that a person has edited. */
  async #lookUp(callId) {
    const act = await call("GET", `${this.#path}/calls/${encodeURIComponent(callId)}`).catch(() => null);
    if (act) this.conversation.putAct(act);
  }

  /** All that a turn waits for: the frame names the first call only. */
  async #lookUpOpen(turnId) {
    const acts = await this.#pollCalls({ turn_id: turnId, status: "waiting" });
    if (this.conversation.turns.get(turnId)?.status !== "waiting") return; // it goes on already
    for (const act of acts.filter((act) => ["waiting", "unknown"].includes(act.state))) this.conversation.putAct(act);
  }

  /** What the history does not say of calls: their state, results that are more than text, who has decided. */
  async #lookUpCalls() {
    for (const turn of this.conversation.unlooked) {
      const found = await call("GET", `${this.#path}/calls?limit=200&turn_id=${encodeURIComponent(turn.id)}`).catch(() => null);
      if (found) this.conversation.putActs(turn, found.calls);
    }
  }

  /** A tab without a stream asks what the calls of the open turn wait for, its own and those of agents that it called. */
  async #pollCalls(turn) {
    const [own, waiting] = await Promise.all([
      call("GET", `${this.#path}/calls?limit=200&turn_id=${encodeURIComponent(turn.turn_id)}`).catch(() => null),
      turn.status === "waiting" ? call("GET", `${this.#path}/approvals`).catch(() => null) : null,
    ]);
    return [...(own?.calls ?? []), ...(waiting?.approvals ?? [])];
  }

  /** Why old turns have no whole answer: the history tells that they do, the turns tell why. */
  async #explain() {
    for (const turn of this.conversation.unexplained()) {
      const found = await call("GET", `${this.#path}/turns/${encodeURIComponent(turn.id)}`).catch(() => null);
      if (found) this.conversation.explain(turn, found);
    }
    await this.#lookUpCalls();
  }

  // -- trouble --------------------------------------------------------------------------------------

  /** Wait for the next try. False: it makes no sense. */
  async #survive(error) {
    if (error instanceof Refused && !error.isPassing && error.status !== 429) {
      if (error.status === 404 || error.status === 410) this.conversation.setGone(error.reason);
      this.#tell({ state: "over", error });
      return false;
    }
    const pause = Math.min(this.#pause * 2 ** this.#failures, LONGEST_PAUSE_MS) * (0.8 + 0.4 * Math.random());
    this.#failures += 1;
    this.#tell({ state: "lost", retryAt: Date.now() + pause });
    this.#attempt = new AbortController();
    await sleep(pause, this.#attempt.signal).catch(() => {});
    return true;
  }

  #hurry() {
    if (!this.isStreaming) this.#attempt?.abort("hurry");
  }

  #onVisibility() {
    clearTimeout(this.#hiding);
    if (!document.hidden) return this.#hurry();
    this.#hiding = setTimeout(() => {
      if (!this.#isWanted) this.#attempt?.abort("hidden");
    }, HIDDEN_MS);
  }
}

/** Whether number `id` lies behind `cursor`; `41:12` (a part of event 41) lies before `41`. */
function isAfter(id, cursor) {
  const [a, aPart] = parts(id);
  const [b, bPart] = parts(cursor ?? "-1");
  return a > b || (a === b && aPart > bPart);
}

function parts(id) {
  const [number, part] = id.split(":");
  return [Number(number), part === undefined ? Infinity : Number(part)];
}

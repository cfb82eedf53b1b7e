/**
 * What is known of one session: its turns in order, and how frames of its stream change them.
 * No network and no elements here. Tells of every change by a `change` event.
 *
 * A turn: `{id, user: {text, at, id} | null, text, thinking, notes: [{at, type, chunk}], status, reason, error,
 * usage, timings, at, heardAt, startedAt}`; `notes` are tool frames and where in the text they came.
 */
const OPEN = new Set(["queued", "running", "waiting"]);
const NOTES = new Set(["tool_call", "tool_progress", "tool_result", "approval_request", "approval_decided", "summary"]);

export class Conversation extends EventTarget {
  #explanations = new Map();
  #known = new Map(); // every turn by its id: a reset fills the same objects again, so that little is redrawn

  constructor(agent, sessionId) {
    super();
    this.agent = agent;
    this.sessionId = sessionId;
    this.session = null;
    this.turns = new Map();
    this.pending = []; // messages on their way to the server: {key, text, again, problem}
    this.running = null;
    this.phase = null; // what the last heartbeat said, while no text came since
    this.isConnected = true;
    this.nextBefore = null;
    this.gone = null; // why there is nothing to show: session_terminated, session_not_found
  }

  get isBusy() {
    return this.pending.length > 0 || [...this.turns.values()].some((turn) => OPEN.has(turn.status));
  }

  /** The turn a stop button means: the running one, else the first that waits. */
  get openTurn() {
    return this.running ?? [...this.turns.values()].find((turn) => OPEN.has(turn.status)) ?? null;
  }

  get lastTurn() {
    return [...this.turns.values()].at(-1) ?? null;
  }

  get status() {
    return this.gone ?? (this.session?.ending ? "ending" : (this.session?.status ?? "active"));
  }

  changed(turn = null) {
    this.dispatchEvent(new CustomEvent("change", { detail: turn }));
  }

  setSession(session) {
    this.session = session;
    this.changed();
  }

  setGone(reason) {
    this.gone = reason;
    this.running = null;
    this.changed();
  }

  // -- history ------------------------------------------------------------------------------------

  /**
   * Start over with what happened up to event `upto`; frames tell the rest. An answer whose question lies
   * before `upto` is taken whole: it was finished meanwhile, and its replayed rest is not for us (`running` is null).
   */
  reset(page, upto = Infinity) {
    for (const turn of this.#known.values()) Object.assign(turn, { text: "", thinking: "", notes: [], memories: undefined, status: undefined, reason: undefined });
    this.turns = new Map();
    this.running = null;
    this.phase = null;
    this.nextBefore = page.next_before;
    const early = new Set(page.messages.filter((message) => message.seq <= upto).map((message) => message.turn_id));
    this.#addAll(page.messages.filter((message) => message.seq <= upto || (early.has(message.turn_id) && !OPEN.has(message.status))));
    for (const turn of this.turns.values()) this.changed(turn);
    this.changed();
  }

  addOlder(page) {
    const newer = this.turns;
    this.turns = new Map();
    this.#addAll(page.messages.filter((message) => message.role === "user" || !newer.has(message.turn_id)));
    for (const [id, turn] of newer) this.turns.set(id, turn);
    this.nextBefore = page.next_before;
    this.changed();
  }

  #addAll(messages) {
    for (const message of messages) {
      const turn = this.#turn(message.turn_id ?? message.message_id);
      turn.at ??= message.created_at;
      if (message.role === "user") {
        turn.user = { text: message.content, at: message.created_at, id: message.message_id };
        turn.status ??= "unknown"; // until its answer follows, or it is looked up
      } else {
        turn.text = message.content;
        turn.status = message.status;
      }
      Object.assign(turn, this.#explanations.get(turn.id));
    }
  }

  /** Turns that ended otherwise than complete and of which the history does not say how. */
  unexplained() {
    return [...this.turns.values()].filter(
      (turn) => turn.reason === undefined && turn.id.startsWith("turn") && !OPEN.has(turn.status) && !["completed", "replaced"].includes(turn.status),
    );
  }

  explain(turn, found) {
    const { status, reason = null, error = null, usage, timings } = found;
    const explanation = { status, reason, error, usage, timings };
    if (!OPEN.has(status)) this.#explanations.set(turn.id, explanation);
    this.changed(Object.assign(turn, explanation));
  }

  /** What a poll saw instead of a stream: the whole newest page and the running turn's text so far. */
  replace(session, page) {
    const waiting = [...this.turns.values()].filter((turn) => turn.status === "queued"); // a session tells their number only
    this.session = session;
    this.reset(page);
    const open = session.turn;
    if (open) {
      const turn = this.#turn(open.turn_id);
      turn.user ??= { text: open.message, at: open.created_at, id: open.user_message_id };
      Object.assign(turn, { status: open.status, text: open.partial_text ?? "", startedAt: Date.parse(open.started_at ?? open.created_at) });
      this.running = turn;
      this.changed(turn);
    }
    for (const turn of waiting) if (session.queued && !this.turns.has(turn.id)) this.turns.set(turn.id, turn);
    this.changed();
  }

  /** An answer whose beginning this page has not seen: taken from the history once it is over. */
  fill(turn, page) {
    turn.text ||= page.messages.find((message) => message.turn_id === turn.id && message.role === "assistant")?.content ?? "";
    this.changed(turn);
  }

  // -- sending ------------------------------------------------------------------------------------

  addPending(message) {
    this.pending.push(message);
    this.changed();
  }

  /** The server has the message: its turn is known by now, or is shown as queued until the stream tells more. */
  accept(message, turnId) {
    this.pending = this.pending.filter((other) => other !== message);
    const turn = this.#turn(turnId);
    if (!message.again) turn.user ??= { text: message.text, at: new Date().toISOString(), id: null };
    turn.status ??= "queued";
    this.changed(turn);
  }

  drop(message) {
    this.pending = this.pending.filter((other) => other !== message);
    this.changed();
  }

  /** The stream may know a message before its POST is answered. */
  #settlePending(text) {
    const index = this.pending.findIndex((message) => message.text === text && !message.problem); // also one asked again
    if (index >= 0) this.pending.splice(index, 1);
  }

  // -- frames -------------------------------------------------------------------------------------

  apply(frame) {
    const turn = frame.turn_id ? this.#turn(frame.turn_id) : this.running;
    switch (frame.type) {
      case undefined:
        return this.#addText(turn, frame.chunk);
      case "thinking":
        if (turn) turn.thinking += frame.chunk;
        break;
      case "turn_queued":
      case "turn_started":
        this.#open(turn, frame);
        break;
      case "snapshot":
        Object.assign(turn, { text: frame.text, notes: [] });
        break;
      case "memory":
        if (turn) turn.memories = frame.memories;
        break;
      case "error":
        if (turn) turn.error = frame;
        break;
      case "turn_finished":
        this.#finish(turn, frame);
        break;
      case "session_ended":
        if (this.session) this.session = { ...this.session, status: frame.reason === "expired" ? "expired" : "ended", ending: false };
        break;
      case "session_terminated":
        this.setGone("session_terminated");
        break;
      default:
        if (turn && NOTES.has(frame.type)) turn.notes.push({ at: turn.text.length, type: frame.type, chunk: frame.chunk, tool: frame.tool, frame });
    }
    this.changed(turn);
  }

  /** A heartbeat: `{phase, since_token_s?}`. It knows more than a page that was opened in mid-answer. */
  heard(beat) {
    this.phase = beat.phase;
    if (this.running && beat.since_token_s) this.running.heardAt = Date.now() - beat.since_token_s * 1000;
    this.changed(this.running);
  }

  setConnected(isConnected) {
    if (isConnected === this.isConnected) return;
    this.isConnected = isConnected;
    this.changed(this.running);
  }

  #turn(id) {
    let turn = this.#known.get(id);
    if (!turn) {
      turn = { id, user: null, text: "", thinking: "", notes: [], heardAt: 0, startedAt: 0 };
      this.#known.set(id, turn);
    }
    if (!this.turns.has(id)) this.turns.set(id, turn);
    return turn;
  }

  #addText(turn, chunk) {
    if (!turn) return; // the rest of an answer that the history gave us whole
    turn.text += chunk;
    turn.heardAt = Date.now();
    this.phase = null;
    this.changed(turn);
  }

  #open(turn, frame) {
    const before = [...this.turns.values()].find((other) => other !== turn && other.user && other.user.id === frame.message_id);
    if (before) this.#replace(before);
    else turn.user = { text: frame.message, at: turn.user?.at ?? new Date().toISOString(), id: frame.message_id };
    turn.status = frame.type === "turn_started" ? "running" : "queued";
    turn.startedAt ||= Date.now();
    this.#settlePending(frame.message);
    if (turn.status === "running") {
      this.running = turn;
      this.phase = null;
      this.turns.delete(turn.id); // in the order in which they run, for one may have been put first
      this.turns.set(turn.id, turn);
      for (const other of [...this.turns.values()].filter((other) => other.status === "queued")) {
        this.turns.delete(other.id);
        this.turns.set(other.id, other);
      }
    }
  }

  /** Its question is answered again. */
  #replace(turn) {
    if (turn.text) turn.status = "replaced";
    this.changed(turn);
  }

  #finish(turn, frame) {
    const { status, reason = null, usage, timings } = frame;
    Object.assign(turn, { status, reason, usage, timings });
    if (this.running === turn) {
      this.running = null;
      this.phase = null;
    }
    this.dispatchEvent(new CustomEvent("finished", { detail: turn }));
  }
}

/**
 * What is known of one session: its turns in order, and how frames of its stream change them.
 * No network and no elements here. Tells of every change by a `change` event.
 *
 * A turn: `{id, user: {text, at, id} | null, text, thinking, notes: [{at, type, chunk}], status, reason, finishReason,
 * error, usage, timings, at, heardAt, startedAt}`; `notes` are tool frames and where in the text they came. The status
 * `withdrawn` is the page's own: the turn was cancelled before it began, so that the history does not have its message.
 */
const OPEN = new Set(["queued", "running", "waiting"]);
const NOTES = new Set(["tool_call", "tool_progress", "tool_result", "approval_request", "approval_decided"]);

export class Conversation extends EventTarget {
  #explanations = new Map();
  #known = new Map(); // every turn by its id: a reset fills the same objects again, so that little is redrawn
  #removed = new Set(); // ids of withdrawn turns that are not shown any more
  #open = null; // what the session said of its open turns when the history was read: {upto, ids}

  /** `graceMs`: how long an answer is written without a reader; `null`: to its end. */
  constructor(agent, sessionId, graceMs = null) {
    super();
    this.agent = agent;
    this.graceMs = graceMs;
    this.sessionId = sessionId;
    this.session = null;
    this.turns = new Map();
    this.pending = []; // messages on their way to the server: {key, text, again, problem, isWithdrawn}
    this.running = null;
    this.phase = null; // what the last heartbeat said, while no text came since
    this.isConnected = true;
    this.lostAt = 0; // when the connection was lost
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

  /** Turns whose messages wait, in their order. */
  get queued() {
    return [...this.turns.values()].filter((turn) => turn.status === "queued");
  }

  get lastTurn() {
    return [...this.turns.values()].filter((turn) => turn.status !== "withdrawn").at(-1) ?? null;
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

  /** The server has nothing of it any more, so nothing is shown either. */
  setGone(reason) {
    this.gone = reason;
    this.running = null;
    this.turns = new Map();
    this.nextBefore = null;
    this.changed();
    this.dispatchEvent(new CustomEvent("gone"));
  }

  // -- history ------------------------------------------------------------------------------------

  /**
   * Start over with what happened up to event `upto`; frames tell the rest. An answer whose question lies
   * before `upto` is taken whole: it was finished meanwhile, and its replayed rest is not for us (`running` is null).
   */
  reset(page, upto = Infinity) {
    for (const turn of this.#known.values()) Object.assign(turn, { text: "", thinking: "", notes: [], memories: undefined, summary: undefined, status: undefined, reason: undefined });
    this.turns = new Map();
    this.running = null;
    this.phase = null;
    this.nextBefore = page.next_before;
    const { queue = [], turn: open, last_seq: last = 0 } = this.session ?? {};
    this.#open = { upto: last, ids: new Set([open?.turn_id, ...queue.map((turn) => turn.turn_id)]) };
    const early = new Set(page.messages.filter((message) => message.seq <= upto).map((message) => message.turn_id));
    // No frame tells of a message that no turn made (`turn_id` is null).
    this.#addAll(page.messages.filter((message) => message.seq <= upto || !message.turn_id || (early.has(message.turn_id) && !OPEN.has(message.status))));
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

  /** Turns of which the history does not say enough: how they ended, if not complete; of the last one, what it used. */
  unexplained() {
    const last = this.lastTurn;
    const isUnclear = ({ status }) => !OPEN.has(status) && !["completed", "replaced"].includes(status);
    return [...this.turns.values()].filter((turn) => turn.reason === undefined && turn.id.startsWith("turn") && (isUnclear(turn) || (turn === last && turn.status === "completed")));
  }

  explain(turn, found) {
    const { status, reason = null, finish_reason: finishReason, error = null, usage, timings } = found;
    const { memories, summary } = found.memory ?? {};
    const explanation = { status, reason, finishReason, error, usage, timings, memories, summary };
    if (!OPEN.has(status)) this.#explanations.set(turn.id, explanation);
    this.changed(Object.assign(turn, explanation));
  }

  /** What a poll saw instead of a stream: the whole newest page, the running turn's text so far, and the queue. */
  replace(session, page) {
    const waited = this.queued;
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
    for (const { turn_id: id, user_message_id: messageId, message, created_at: at, status } of session.queue) {
      const turn = this.#turn(id);
      turn.user ??= { text: message, at, id: messageId };
      turn.status = status;
    }
    for (const turn of waited.filter((turn) => !this.turns.has(turn.id))) this.#withdraw(turn);
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
    turn.status ??= this.running ? "queued" : "running";
    this.changed(turn);
  }

  /** Do not send this message, or no longer. */
  drop(message) {
    message.isWithdrawn = true;
    this.pending = this.pending.filter((other) => other !== message);
    this.changed();
  }

  /** The stream may know a message before its POST is answered. */
  #settlePending(text) {
    const index = this.pending.findIndex((message) => message.text === text && !message.problem); // also one asked again
    if (index >= 0) this.pending.splice(index, 1);
  }

  // -- frames -------------------------------------------------------------------------------------

  /** `seq`: the frame's number. */
  apply(frame, seq = Infinity) {
    if (frame.type === "turn_queued" && this.#isLongWithdrawn(frame.turn_id, seq)) this.#removed.add(frame.turn_id);
    if (frame.type === "turn_started") this.#removed.delete(frame.turn_id);
    if (this.#removed.has(frame.turn_id)) return;
    const id = frame.turn_id ?? (frame.type === "snapshot" ? frame.message_id : null);
    const turn = id ? this.#turn(id) : this.running;
    switch (frame.type) {
      case undefined:
        return this.#addText(turn, frame.chunk);
      case "thinking":
        if (turn) turn.thinking += frame.chunk;
        break;
      case "turn_queued":
      case "turn_started":
        this.#begin(turn, frame);
        break;
      case "snapshot":
        Object.assign(turn, { text: frame.text, notes: [] });
        break;
      case "memory":
        if (turn) turn.memories = frame.memories;
        break;
      case "summary":
        if (turn) turn.summary = frame;
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
        if (turn && NOTES.has(frame.type)) turn.notes.push({ at: turn.text.length, type: frame.type, chunk: frame.chunk, tool: frame.tool });
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
    this.lostAt = Date.now();
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

  #begin(turn, frame) {
    const before = [...this.turns.values()].find((other) => other !== turn && other.user && other.user.id === frame.message_id);
    if (before) this.#replace(before);
    else turn.user = { text: frame.message, at: turn.user?.at ?? new Date().toISOString(), id: frame.message_id };
    turn.status = frame.type === "turn_started" ? "running" : "queued";
    this.#settlePending(frame.message);
    if (turn.status === "running") {
      turn.startedAt ||= Date.now();
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
    const { status, reason = null, finish_reason: finishReason, usage, timings } = frame;
    if (turn.status === "queued" && status === "cancelled") return this.#withdraw(turn);
    Object.assign(turn, { status, reason, finishReason, usage, timings });
    if (this.running === turn) {
      this.running = null;
      this.phase = null;
    }
    this.dispatchEvent(new CustomEvent("finished", { detail: turn }));
  }

  /** Its message was taken back before its turn began. Tells of it by a `withdrawn` event. */
  #withdraw(turn) {
    turn.status = "withdrawn";
    this.turns.set(turn.id, turn);
    this.dispatchEvent(new CustomEvent("withdrawn", { detail: turn }));
    this.changed(turn);
  }

  /** Whether a turn that a replay tells of was taken from the queue before the page was opened. */
  #isLongWithdrawn(id, seq) {
    return this.#open !== null && seq <= this.#open.upto && !this.#open.ids.has(id) && !this.turns.has(id);
  }

  /** Show a withdrawn turn no longer. */
  remove(turn) {
    this.#removed.add(turn.id);
    this.turns.delete(turn.id);
    this.changed();
  }
}

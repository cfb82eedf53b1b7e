/**
 * What is known of one session: its turns in order, and how frames of its stream change them.
 * No network and no elements here. Tells of every change by a `change` event.
 *
 * A turn (turn.js): `{id, user: {text, at, id} | null, parts, status, reason, finishReason, error, usage, timings, at, heardAt,
 * startedAt, waitingFor}`. The status `withdrawn` is the page's own: the turn was cancelled before it began, so that the history does
 * not have its message.
 */
import { FRAMES } from "./acts.js";
import { Turn } from "./turn.js";

const OPEN = new Set(["queued", "running", "waiting"]);

export class Conversation extends EventTarget {
  #explanations = new Map();
  #known = new Map(); // every turn by its id: a reset fills the same objects again, so that little is redrawn
  #removed = new Set(); // ids of withdrawn turns that are not shown any more
  #steering = new Set(); // ids of messages that this tab has sent to steer
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
    for (const turn of this.#known.values()) turn.reset();
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
    this.#addAll(page.messages);
    for (const [id, turn] of newer) this.turns.set(id, turn);
    this.nextBefore = page.next_before;
    this.changed();
  }

  #addAll(messages) {
    const byTurn = Map.groupBy(messages, (message) => message.turn_id ?? message.message_id);
    for (const [id, own] of byTurn) {
      const isTold = this.#known.get(id)?.parts.length > 0 && !this.#known.get(id).isFromHistory;
      const turn = this.#turn(id);
      turn.at ??= own[0].created_at;
      if (!isTold) {
        turn.store(own);
        turn.status ??= "unknown"; // until its answer follows, or it is looked up
      } else if (own[0].role === "user") {
        turn.user = { text: own[0].content, at: own[0].created_at, id: own[0].message_id };
      }
      Object.assign(turn, this.#explanations.get(turn.id));
      this.changed(turn);
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

  /** What a poll saw instead of a stream: the whole newest page, the running turn's text so far, its calls, and the queue. */
  replace(session, page, acts = []) {
    const waited = this.queued;
    this.session = session;
    this.reset(page);
    const open = session.turn;
    if (open) {
      const turn = this.#turn(open.turn_id);
      turn.user ??= { text: open.message, at: open.created_at, id: open.user_message_id };
      Object.assign(turn, { status: open.status, waitingFor: open.waiting_for ?? null, startedAt: Date.parse(open.started_at ?? open.created_at) });
      turn.showPartial(open.partial_text);
      this.running = turn;
      this.changed(turn);
    }
    for (const { turn_id: id, user_message_id: messageId, message, created_at: at, status } of session.queue) {
      const turn = this.#turn(id);
      turn.user ??= { text: message, at, id: messageId };
      turn.status = status;
    }
    for (const act of acts) this.putAct(act);
    const entered = new Set([...this.turns.values()].flatMap((turn) => turn.parts.map((part) => part.id)));
    for (const turn of waited.filter((turn) => !this.turns.has(turn.id) && !entered.has(turn.user?.id))) this.#withdraw(turn);
    this.changed();
  }

  /** An answer whose beginning this page has not seen: taken from the history once it is over. */
  fill(turn, page) {
    const { status } = turn;
    turn.store(page.messages.filter((message) => message.turn_id === turn.id));
    turn.status = status;
    this.changed(turn);
  }

  // -- calls --------------------------------------------------------------------------------------

  /** Turns with calls of which the history has the outcome only, the newest first. */
  get unlooked() {
    return [...this.turns.values()].filter((turn) => turn.isFromHistory && turn.calls.length && !turn.isLookedUp).reverse();
  }

  putActs(turn, acts) {
    for (const act of acts) turn.put(act);
    turn.isLookedUp = !OPEN.has(turn.status);
    this.changed(turn);
  }

  /** An act of whichever turn. */
  putAct(act) {
    const turn = this.turns.get(act.turn_id) ?? [...this.turns.values()].find((other) => other.hasCall(act.call_id)) ?? this.running;
    if (!turn) return;
    turn.put(act, { isNested: act.session_id !== this.sessionId });
    this.changed(turn);
  }

  /** The newest list of tasks that the agent has made. */
  get todos() {
    const lists = [...this.turns.values()].flatMap((turn) => turn.calls).filter((call) => call.name === "todo_write" && !call.depth && !["failed", "refused", "cancelled"].includes(call.state));
    const last = lists.at(-1);
    const todos = last?.edited?.todos ?? last?.arguments?.todos;
    return Array.isArray(todos) ? todos : [];
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

  /** The server has the message, which enters the running turn at its next step; until then it is a turn that waits. */
  acceptSteered(message, messageId) {
    this.pending = this.pending.filter((other) => other !== message);
    this.#steering.add(messageId);
    const turn = this.#turnOf(messageId);
    if (turn) turn.steers = true;
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
        turn?.addThinking(frame.chunk);
        break;
      case "turn_queued":
      case "turn_started":
        this.#begin(turn, frame);
        break;
      case "snapshot":
        turn.snapshot(frame.message_id, frame.text);
        break;
      case "message_steered":
        turn.steer(frame.message_id, frame.message);
        this.#settlePending(frame.message);
        this.#absorbed(frame.message_id);
        break;
      case "budget":
        turn.addBudget(frame);
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
        if (turn && FRAMES.has(frame.type)) turn.tell(frame);
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
      turn = new Turn(id);
      this.#known.set(id, turn);
    }
    if (!this.turns.has(id)) this.turns.set(id, turn);
    return turn;
  }

  #addText(turn, chunk) {
    if (!turn) return; // the rest of an answer that the history gave us whole
    turn.addText(chunk);
    turn.heardAt = Date.now();
    this.phase = null;
    this.changed(turn);
  }

  #begin(turn, frame) {
    const before = [...this.turns.values()].find((other) => other !== turn && other.user && other.user.id === frame.message_id);
    if (before) this.#replace(before);
    else turn.user = { text: frame.message, at: turn.user?.at ?? new Date().toISOString(), id: frame.message_id };
    turn.status = frame.type === "turn_started" ? "running" : "queued";
    turn.steers = turn.status === "queued" && this.#steering.has(frame.message_id);
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

  #turnOf(messageId) {
    return [...this.turns.values()].find((turn) => turn.user?.id === messageId) ?? null;
  }

  /** The turn that its message would have had is none. */
  #absorbed(messageId) {
    const turn = this.#turnOf(messageId);
    if (turn?.status === "queued") this.remove(turn);
  }

  /** Its question is answered again. */
  #replace(turn) {
    if (turn.parts.length) turn.status = "replaced";
    this.changed(turn);
  }

  #finish(turn, frame) {
    const { status, reason = null, finish_reason: finishReason, usage, timings } = frame;
    if (turn.status === "queued" && status === "cancelled") return this.#withdraw(turn);
    Object.assign(turn, { status, reason, finishReason, usage, timings });
    turn.close();
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

/**
 * One turn: the question, and the parts of its answer in their order. No network and no elements here.
 *
 * Parts: `{kind: "text", text, messageId}`, `{kind: "thinking", text}`, `{kind: "call", call}` (acts.js), `{kind: "steered", id, text}`
 * (a message that entered the running turn) and `{kind: "budget", budget}`. A turn has several assistant messages: between
 * two of them stand calls, or a steered message.
 */
import { FRAMES, OPEN, applyAct, applyFrame, newCall, parsed } from "./acts.js";

// Not the outcomes of calls: after a crash they may come behind the snapshot that takes back the message which is said next.
const BETWEEN = new Set(["tool_call"]);

export class Turn {
  #calls = new Map();
  #past = new Map(); // calls of before a reset: the same objects again, so that what a person types in a card stays
  #open = null; // the text that the next piece belongs to
  #stored = new Map(); // messages of the history, by their ids

  constructor(id) {
    Object.assign(this, { id, user: null, heardAt: 0, startedAt: 0 });
    this.reset();
  }

  reset() {
    Object.assign(this, { parts: [], memories: undefined, summary: undefined, status: undefined, reason: undefined, waitingFor: null, isLookedUp: false });
    this.#open = null;
    this.#stored.clear();
    for (const [id, call] of this.#calls) this.#past.set(id, call);
    this.#calls.clear();
  }

  get text() {
    return this.parts.filter((part) => part.kind === "text").map((part) => part.text).join("\n\n");
  }

  get calls() {
    return [...this.#calls.values()];
  }

  get isFromHistory() {
    return this.#stored.size > 0;
  }

  // -- as it is told ------------------------------------------------------------------------------

  addText(chunk) {
    this.#open ??= this.#add({ kind: "text", text: "", messageId: null });
    this.#open.text += chunk;
  }

  addThinking(chunk) {
    const last = this.parts.at(-1);
    const part = last?.kind === "thinking" ? last : this.#add({ kind: "thinking", text: "" });
    part.text += chunk;
  }

  /** All of a message so far: it replaces what is shown of that message, not of those before it. */
  snapshot(messageId, text) {
    const known = messageId && this.parts.find((part) => part.messageId === messageId);
    if (known) return void (known.text = text);
    if (!this.#open || (messageId && this.#open.messageId)) this.#open = this.#add({ kind: "text", text: "", messageId: null });
    Object.assign(this.#open, { text, messageId: messageId ?? null });
  }

  /** A frame that tells of a call, or of the turn's waiting. */
  tell(frame) {
    if (BETWEEN.has(frame.type)) this.#open = null;
    if (frame.type === "waiting") Object.assign(this, { status: "waiting", waitingFor: frame.waiting_for });
    if (frame.type === "resumed") Object.assign(this, { status: "running", waitingFor: null });
    const id = frame.tool?.call_id ?? frame.call_id;
    if (id && FRAMES.has(frame.type)) applyFrame(this.#call(id), frame);
    const depth = frame.type === "tool_call" ? frame.tool.depth ?? 0 : 0;
    const caller = depth ? this.calls.findLast((call) => call.depth === depth - 1 && OPEN.has(call.state)) : null;
    if (caller) caller.isNewLine = true; // what the called agent says next is another message
  }

  /** A message has entered the turn. */
  steer(id, text) {
    this.#open = null;
    this.#add({ kind: "steered", id, text });
  }

  addBudget(budget) {
    this.#add({ kind: "budget", budget });
  }

  /** The turn is over, and so are its calls, also those whose end was not told. */
  close() {
    for (const call of this.#calls.values()) if (OPEN.has(call.state)) Object.assign(call, { state: "cancelled", waitingFor: null, version: call.version + 1 });
    this.waitingFor = null;
  }

  // -- as it is stored ----------------------------------------------------------------------------

  /** Messages of the history that belong to it; it is built anew from all that it was given. */
  store(messages) {
    for (const message of messages) this.#stored.set(message.message_id, message);
    const ordered = [...this.#stored.values()].sort((a, b) => a.seq - b.seq);
    this.parts = [];
    this.#open = null;
    const known = new Map(this.#calls);
    this.#calls.clear();
    for (const message of ordered) this.#build(message, known, message === ordered[0]);
    for (const id of known.keys()) this.#call(id, known);
    const last = ordered.at(-1);
    if (last && last.role !== "user") this.status = last.role === "tool" ? (this.status ?? "unknown") : last.status;
  }

  #build(message, known, isFirst) {
    const { role, content, message_id: id } = message;
    if (role === "user" && isFirst) {
      this.user = { text: content, at: message.created_at, id };
    } else if (role === "user") {
      this.#add({ kind: "steered", id, text: content });
    } else if (role === "tool") {
      this.#settle(this.#call(message.tool_call_id, known), content);
    } else {
      if (content) this.#add({ kind: "text", text: content, messageId: id });
      for (const asked of message.tool_calls ?? []) {
        const call = this.#call(asked.call_id ?? asked.id, known);
        const { name, arguments: given } = asked.function ?? asked;
        call.version += 1;
        call.name ||= name;
        call.arguments ??= parsed(given);
      }
    }
  }

  /** What the model was told, until the act says more. */
  #settle(call, content) {
    call.version += 1;
    if (call.result === undefined) call.result = content;
    if (OPEN.has(call.state)) call.state = "settled";
  }

  /** The answer that is being written, as a poll saw it. */
  showPartial(text) {
    const last = [...this.#stored.values()].sort((a, b) => a.seq - b.seq).at(-1);
    if (!text || last?.content === text) return;
    const shown = this.parts.at(-1);
    if (last?.role === "assistant" && OPEN.has(last.status) && shown?.kind === "text") shown.text = text;
    else this.#add({ kind: "text", text, messageId: null });
  }

  put(act, options) {
    applyAct(this.#call(act.call_id), act, options);
  }

  hasCall(id) {
    return this.#calls.has(id);
  }

  #call(id, known = this.#calls) {
    let call = this.#calls.get(id);
    if (call) return call;
    call = known.get(id) ?? this.#again(id) ?? newCall(id);
    this.#calls.set(id, call);
    this.#add({ kind: "call", call });
    return call;
  }

  #again(id) {
    const call = this.#past.get(id);
    return call && Object.assign(call, newCall(id), { version: call.version + 1 });
  }

  #add(part) {
    this.parts.push(part);
    return part;
  }
}

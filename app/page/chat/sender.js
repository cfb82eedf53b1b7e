/**
 * Sends messages and does not lose them: each has a key of its own and is offered again, with that key, until
 * the server has it; a reload in between goes on with it.
 */
import { Refused, agentPath, call, newId, request, sessionPath, sleep } from "./api.js";
import { shorten } from "./format.js";
import { events } from "./sse.js";

const PAUSES_MS = [500, 1000, 2000, 4000, 8000];

function storeName(conversation) {
  return `hector.sending.${conversation.agent}/${conversation.sessionId}`;
}

function store(conversation) {
  const messages = conversation.pending.map(({ key, text, again, steers, mode }) => ({ key, text, again, steers, mode })); // another mode, another body
  if (messages.length) sessionStorage.setItem(storeName(conversation), JSON.stringify(messages));
  else sessionStorage.removeItem(storeName(conversation));
}

/** Messages that a reload cut off. */
export function resumeSending(conversation, follower) {
  for (const message of JSON.parse(sessionStorage.getItem(storeName(conversation)) ?? "[]")) {
    conversation.addPending(message);
    deliver(conversation, follower, message);
  }
}

/** `again`: the id of the user message to answer again, instead of a new message; `steers`: it enters the running turn. */
export function send(conversation, follower, text, { again, steers } = {}) {
  const message = { key: newId(), text, again, steers };
  conversation.addPending(message);
  store(conversation);
  return deliver(conversation, follower, message);
}

export function sendAgain(conversation, follower, message) {
  message.problem = null;
  conversation.changed();
  return deliver(conversation, follower, message);
}

/** Do not send this message, or no longer. */
export function discard(conversation, message) {
  conversation.drop(message);
  store(conversation);
}

async function deliver(conversation, follower, message) {
  for (let failures = 0; ; failures++) {
    try {
      if (message.isWithdrawn) return;
      const { turn_id: turnId, message_id: id, steer } = await offer(conversation, follower, message);
      if (message.isWithdrawn && steer !== "accepted") return await cancel(conversation, turnId); // it was on its way
      if (steer === "accepted") conversation.acceptSteered(message, id);
      else conversation.accept(message, turnId);
      store(conversation);
      follower.wake();
      return;
    } catch (error) {
      if (error instanceof Refused && !error.isPassing) {
        message.problem = error.message;
        conversation.changed();
        follower.wake();
        return;
      }
      await pause(PAUSES_MS[Math.min(failures, PAUSES_MS.length - 1)]);
    }
  }
}

function cancel(conversation, turnId) {
  return call("POST", `${sessionPath(conversation.agent, conversation.sessionId)}/cancel`, { turn_id: turnId });
}

/** Waits, but no longer than until the browser is online again. */
async function pause(ms) {
  const online = new AbortController();
  addEventListener("online", () => online.abort(), { once: true, signal: online.signal });
  await sleep(ms, online.signal).catch(() => {});
  online.abort();
}

/**
 * Start the turn, or have the message enter the running one; return what the server says of it. Our own stream is the reader of the turn, which ends when its last reader leaves; the
 * stream of the POST is closed at its first frame. A tab without a stream has no reader that keeps the turn running, so
 * it sends in the background.
 */
async function offer(conversation, follower, message) {
  const path = `${sessionPath(conversation.agent, conversation.sessionId)}/${message.again ? "regenerate" : "messages"}`;
  const body = message.again ? { message_id: message.again } : { message: message.text };
  const headers = { "Idempotency-Key": message.key };
  if (message.steers) return call("POST", path, { ...body, on_busy: "steer" }, { headers });
  await follower.known;
  message.mode ??= follower.state === "polling" ? "background" : "stream";
  if (message.mode === "background") {
    return call("POST", path, { ...body, background: true }, { headers });
  }
  const stop = new AbortController();
  const response = await request("POST", `${path}/stream`, { headers, body, signal: stop.signal });
  try {
    for await (const event of events(response.body)) {
      const frame = event.data && event.data !== "[DONE]" ? JSON.parse(event.data) : {};
      if (frame.turn_id) return { turn_id: frame.turn_id };
    }
  } finally {
    stop.abort();
  }
  throw new TypeError("The stream was cut.");
}

/** Send to a session that this page does not show. */
export function sendUnseen(session, text) {
  const path = `${sessionPath(session.agent, session.session_id)}/messages`;
  return call("POST", path, { message: text, background: true }, { headers: { "Idempotency-Key": newId() } });
}

/** A new session, called after its first message: no model is asked for a title. */
export function createSession(agent, firstMessage) {
  return call("POST", `${agentPath(agent)}/sessions`, { title: shorten(firstMessage, 60) });
}

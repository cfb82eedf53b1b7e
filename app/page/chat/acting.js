/** What a reader does about calls: decide, answer, resolve, look at whole results. Each raises Refused with a sentence. */
import { Refused, call as ask, sessionPath } from "./api.js";

function path({ agent, sessionId }, ...parts) {
  return [sessionPath(agent, sessionId), ...parts.map(encodeURIComponent)].join("/");
}

async function act(conversation, call, parts, body) {
  try {
    conversation.putAct(await ask("POST", path(conversation, ...parts), body));
  } catch (error) {
    if (error instanceof Refused && [409, 410].includes(error.status)) await lookUp(conversation, call).catch(() => {}); // somebody was faster
    throw error;
  }
}

async function lookUp(conversation, call) {
  conversation.putAct(await ask("GET", path(conversation, "calls", call.id)));
}

/** `decision`: `{approved, arguments?, reason?, remember?}`. */
export function decide(conversation, call, decision) {
  return act(conversation, call, ["approvals", call.id], decision);
}

/** The answer to a question, or the outcome of a call that is waited for. */
export function answer(conversation, call, result) {
  return act(conversation, call, ["calls", call.id, "result"], { result });
}

/** `resolution`: `{happened, result?}` or `{again: true}`. */
export function resolve(conversation, call, resolution) {
  return act(conversation, call, ["calls", call.id, "resolve"], resolution);
}

/** A piece of a stored result: `{bytes, offset, text, next_offset}`. */
export function readResult(conversation, resultId, { offset = 0, limit = 16_384, grep = "" }) {
  const query = new URLSearchParams({ offset, limit, ...(grep ? { grep } : {}) });
  return ask("GET", `${path(conversation, "results", resultId)}?${query}`);
}

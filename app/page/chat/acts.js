/**
 * Calls of tools as the page knows them: from the frames that tell of them, and from acts, as the server stores them.
 *
 * A call: `{id, name, arguments, edited, kind, step, agent, depth, state, waitingFor, why, rule, asked, expiresAt, decision, output,
 * percent, result, resultId, bytes, ms, sandbox}`. `state` is the act's, but for `running`: proposed, approved or started.
 */
const MOST_OUTPUT = 64 * 1024; // characters of live output that are kept

export const OPEN = new Set(["running", "waiting"]);
const OVER = new Set(["settled", "failed", "refused", "cancelled"]);
const EARLY = new Set(["proposed", "waiting", "approved", "started"]);
export const FRAMES = new Set(["tool_call", "tool_progress", "tool_result", "approval_request", "approval_decided", "waiting", "resumed"]);

export function newCall(id) {
  return {
    id, name: "", arguments: undefined, edited: undefined, kind: null, step: 0, agent: null, depth: 0,
    state: "running", waitingFor: null, why: "", rule: null, asked: null, expiresAt: null, decision: null,
    output: "", isNewLine: false, isCut: false, percent: null, result: undefined, resultId: null, bytes: null, ms: null, sandbox: null,
    version: 0, // grows with every change
  };
}

export function applyFrame(call, frame) {
  call.version += 1;
  if (frame.type !== "tool_progress") nest(call, frame.tool ?? frame); // what a called agent says is progress of its caller's call
  call.name ||= frame.name ?? "";
  switch (frame.type) {
    case "tool_call":
      Object.assign(call, { name: frame.tool.name, arguments: frame.tool.arguments, kind: frame.tool.class, step: frame.tool.step });
      break;
    case "tool_progress":
      addOutput(call, frame.text ?? "");
      call.percent = frame.percent ?? call.percent;
      break;
    case "tool_result":
      Object.assign(call, { state: frame.status, waitingFor: null, percent: null, ms: frame.ms ?? call.ms, sandbox: frame.sandbox ?? null });
      Object.assign(call, { result: frame.result ?? frame.preview, resultId: frame.result_id ?? null, bytes: frame.bytes ?? null });
      break;
    case "approval_request":
      Object.assign(call, { state: "waiting", waitingFor: "approval", why: frame.why ?? "", rule: frame.rule ?? null, expiresAt: frame.expires_at });
      call.arguments ??= frame.arguments;
      break;
    case "approval_decided":
      call.decision = { approved: frame.approved, by: frame.by, edited: frame.edited, reason: frame.reason ?? null, remember: frame.remember ?? null };
      call.waitingFor = null;
      if (OPEN.has(call.state)) call.state = frame.approved ? "running" : "refused";
      break;
    case "waiting":
      if (call.state !== "unknown") Object.assign(call, { state: "waiting", waitingFor: frame.waiting_for });
      call.expiresAt = frame.expires_at ?? call.expiresAt;
      if (frame.question) call.asked = { question: frame.question, choices: frame.choices ?? [], schema: frame.schema ?? null };
      break;
    case "resumed":
      if (call.state === "waiting") Object.assign(call, { state: "running", waitingFor: null });
  }
}

/** Of which called agent it is, and how deep. */
function nest(call, { agent, depth }) {
  call.agent ??= agent ?? null;
  call.depth ||= depth ?? 0;
}

function addOutput(call, text) {
  if (call.isNewLine && text && call.output && !call.output.endsWith("\n")) call.output += "\n";
  if (text) call.isNewLine = false;
  call.output += text;
  if (call.output.length <= 2 * MOST_OUTPUT) return;
  const kept = call.output.slice(-MOST_OUTPUT);
  call.output = kept.slice(kept.indexOf("\n") + 1);
  call.isCut = true;
}

const STATES = { proposed: "running", approved: "running", started: "running" };

/** The act says more than the frames of a reader that came late, and nothing of the live output. `isNested`: of a called agent. */
export function applyAct(call, act, { isNested = false } = {}) {
  if (OVER.has(call.state) && EARLY.has(act.state)) return; // it was read before the frame came that says so
  if (isNested) nest(call, { agent: act.agent, depth: 1 });
  const { changes = [] } = act;
  const began = changes.find((change) => change.state === "started");
  const ended = changes.findLast((change) => ["settled", "failed", "cancelled", "unknown"].includes(change.state));
  const decided = changes.find((change) => change.by && ["approved", "refused"].includes(change.state));
  Object.assign(call, {
    version: call.version + 1,
    name: act.name ?? call.name,
    arguments: parsed(act.arguments) ?? call.arguments,
    edited: parsed(act.edited),
    kind: act.class ?? call.kind,
    step: act.step ?? call.step,
    state: STATES[act.state] ?? act.state,
    waitingFor: act.state === "waiting" ? (act.waiting_for ?? null) : null,
    why: act.why ?? call.why,
    rule: act.rule ?? call.rule,
    expiresAt: act.expires_at ?? call.expiresAt,
    result: act.result ?? call.result ?? act.outcome,
    resultId: act.result_id ?? call.resultId,
    ms: began && ended ? time(ended.at) - time(began.at) : call.ms,
  });
  if (act.asked?.question) call.asked = { question: act.asked.question, choices: act.asked.choices ?? [], schema: act.asked.schema ?? null };
  if (decided) call.decision ??= { approved: decided.state === "approved", by: decided.by, edited: act.edited !== undefined && act.edited !== null, reason: null, remember: null };
}

/** Arguments that no JSON could be made of stay what the model wrote. */
export function parsed(value) {
  if (typeof value !== "string") return value ?? undefined;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function time(at) {
  return typeof at === "number" ? at : Date.parse(at);
}

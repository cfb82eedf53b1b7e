/** A call of a tool, as a card: what it does, its output as it comes, what it asks of the reader, what came of it. */
import { OPEN } from "./acts.js";
import { h, say } from "./dom.js";
import { duration } from "./format.js";
import { ApprovalForm, QuestionForm, UnknownForm } from "./tool-forms.js";
import { argumentsView, diffCounts, diffView, headline, pre, resultView, withoutDiff } from "./tool-parts.js";
import { terminal, visibleLine } from "./visible.js";

const MOST_SHOWN = 16_384; // characters of live output on the page
const SMALL_DIFF = 2000; // characters of a diff that is not folded
const DEEPEST = 4;

const WORDS = {
  running: "running",
  waiting: "waiting",
  settled: "done",
  failed: "failed",
  refused: "refused",
  cancelled: "cancelled",
  unknown: "unknown",
};
const WAITS = { approval: "needs your approval", input: "asks you something", result: "waits for its result", connect: "waits for a connection" };

export class ToolView {
  #version = -1;
  #asks = null; // which form is shown
  #form = null;
  #told = ""; // what was said to a screen reader

  constructor(call) {
    this.state = h("span.tool-state");
    this.name = h("code.tool-name", { dir: "ltr" });
    this.about = h("span.tool-about", { dir: "ltr" });
    this.agent = h("span.pill", { hidden: true });
    this.time = h("span.tool-time");
    this.slot = h("div");
    this.progress = h("progress", { max: 100, hidden: true });
    this.output = pre("", "Output", "pre.tool-text.terminal");
    this.changes = new Fold("Changes", (call) => diffView(call.result));
    this.given = new Fold("Arguments", (call) => argumentsView(call.edited ?? call.arguments));
    this.original = new Fold("Arguments of the model, before they were edited", (call) => argumentsView(call.arguments));
    this.result = new Fold("Result", (call, conversation) => resultView(call, conversation));
    this.decision = h("p.faint", { hidden: true });
    const head = h("div.tool-head", {}, this.state, this.name, this.about, this.agent, this.time);
    const folds = [this.changes, this.given, this.original, this.result].map((fold) => fold.element);
    this.element = h("section.tool", { tabIndex: -1, role: "group", onkeydown: (event) => { if (event.target === this.element) this.#form?.press(event); } },
      head, this.progress, this.output, this.slot, this.decision, ...folds);
    this.element.classList.add(`depth-${Math.min(call.depth, DEEPEST)}`);
  }

  get isAsking() {
    return Boolean(this.#form);
  }

  update(call, _part, conversation) {
    if (call.version === this.#version) return;
    this.#version = call.version;
    const words = WAITS[call.waitingFor] ?? WORDS[call.state] ?? call.state;
    const name = visibleLine(call.name || "tool", 60);
    this.element.dataset.state = call.state;
    this.element.setAttribute("aria-label", `Tool ${name}: ${words}`);
    this.state.textContent = words;
    this.name.textContent = name;
    this.about.textContent = headline(call.edited ?? call.arguments);
    this.agent.hidden = !call.agent;
    this.agent.textContent = call.agent ? visibleLine(call.agent, 40) : "";
    this.time.textContent = [call.ms === null ? "" : duration(call.ms), call.sandbox ? `sandbox: ${visibleLine(call.sandbox, 20)}` : ""].filter(Boolean).join(" · ");
    this.#updateOutput(call);
    this.#updateForm(call, conversation, name);
    this.#updateDecision(call);
    this.#updateFolds(call, conversation);
  }

  updateTime() {
    this.#form?.updateTime?.();
  }

  #updateOutput(call) {
    this.progress.hidden = call.percent === null;
    if (call.percent !== null) {
      this.progress.value = Math.min(Math.max(call.percent, 0), 100);
      this.progress.setAttribute("aria-label", `Progress of ${call.name}`);
    }
    const output = call.output || storedOutput(call);
    this.output.hidden = !output;
    if (!output) return;
    const isAtEnd = this.output.scrollHeight - this.output.scrollTop - this.output.clientHeight < 30;
    const isCut = call.isCut || output.length > MOST_SHOWN;
    this.output.textContent = (isCut ? "…\n" : "") + terminal(output.slice(-MOST_SHOWN)).replace(/\n$/, "");
    if (isAtEnd) this.output.scrollTop = this.output.scrollHeight;
  }

  #updateForm(call, conversation, name) {
    const asks = call.state === "unknown" ? "unknown" : call.state === "waiting" ? call.waitingFor : null;
    if (asks === this.#asks) return;
    this.#asks = asks;
    const Kind = { unknown: UnknownForm, approval: ApprovalForm, input: QuestionForm }[asks];
    this.#form = Kind ? new Kind(call, conversation) : null;
    this.slot.replaceChildren(...(this.#form ? [this.#form.element] : []));
    if (asks === "approval") this.given.open(); // what is to be approved is not folded
    const told = { unknown: `Nobody knows whether ${name} happened.`, approval: `${name} needs your approval.`, input: "A question for you." }[asks];
    if (told && told !== this.#told) say(told);
    this.#told = told ?? "";
  }

  #updateDecision(call) {
    const { decision } = call;
    this.decision.hidden = !decision;
    if (!decision) return;
    const verb = decision.approved ? (decision.edited ? "Approved with edited arguments" : "Approved") : "Refused";
    const how = decision.remember ? ` for this ${decision.remember}` : "";
    const why = decision.reason ? `: ${visibleLine(decision.reason, 300)}` : ".";
    this.decision.textContent = `${verb} by ${visibleLine(decision.by ?? "", 60)}${how}${why}`;
  }

  #updateFolds(call, conversation) {
    const diff = call.result && typeof call.result === "object" && typeof call.result.diff === "string" ? call.result.diff : "";
    const isOver = !OPEN.has(call.state);
    this.changes.update(diff ? call : null, conversation, diff ? diffCounts(diff) : "");
    if (diff && diff.length <= SMALL_DIFF) this.changes.open();
    this.given.update(call.arguments === undefined ? null : call, conversation, call.edited === undefined ? "Arguments" : "Arguments, edited");
    this.original.update(call.edited === undefined ? null : call, conversation);
    const hasResult = isOver && call.result !== undefined && call.result !== null && call.result !== "";
    const brief = hasResult ? `Result: ${visibleLine(typeof call.result === "string" ? call.result : JSON.stringify(withoutDiff(call.result)), 80)}` : "Result";
    this.result.update(hasResult ? call : null, conversation, brief);
  }
}

/** What was printed, of a call that this page has not watched. */
function storedOutput({ result }) {
  return typeof result?.output === "string" ? result.output : "";
}

/** Something folded that is built when it is unfolded: most cards are never opened, and there may be hundreds. */
class Fold {
  #call = null;
  #conversation = null;
  #drawn = -1;
  #wasOpened = false;

  constructor(title, build) {
    this.build = build;
    this.title = h("summary", { dir: "auto" }, title);
    this.body = h("div");
    this.element = h("details.tool-fold", { hidden: true, ontoggle: () => this.#draw() }, this.title, this.body);
  }

  update(call, conversation, title) {
    this.#call = call;
    this.#conversation = conversation;
    this.element.hidden = !call;
    if (title && this.title.textContent !== title) this.title.textContent = title;
    this.#draw();
  }

  /** Once: what a reader has folded stays folded. */
  open() {
    if (this.#wasOpened) return;
    this.#wasOpened = true;
    this.element.open = true;
  }

  #draw() {
    if (!this.#call || !this.element.open || this.#drawn === this.#call.version) return;
    this.#drawn = this.#call.version;
    this.body.replaceChildren(this.build(this.#call, this.#conversation));
  }
}

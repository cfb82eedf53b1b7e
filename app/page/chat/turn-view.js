/** A turn on the screen: the question, the parts of the answer, what it is busy with, how it ended. */
import { copyButton } from "./copy.js";
import { h, iconButton } from "./dom.js";
import { ago, count, duration, ending, lostWords, phaseWords, shorten, waitingWords } from "./format.js";
import { MarkdownView, plainText, textParts } from "./markdown.js";
import { BudgetView, SteeredView, ThinkingView } from "./part-views.js";
import { recalledList, recalledWords, summaryWords } from "./recalled.js";
import { ToolView } from "./tool-view.js";
import { visibleLine } from "./visible.js";

const QUIET_MS = 1500;

export class TurnView {
  #parts = []; // a view for each part, in order
  #memories = null; // those that are shown
  #userShown = "";

  constructor(turn, onAgain, onWithdraw) {
    this.turn = turn;
    this.userText = h("div.bubble", { dir: "auto" });
    this.userTime = h("time.faint");
    const userTools = h("div.tools", {}, this.userTime, copyButton("Copy message", () => turn.user?.text ?? ""));
    this.user = h("article.user", {}, h("h2.visually-hidden", {}, "You"), this.userText, userTools);
    this.memories = h("details.thinking.memories", { hidden: true }, h("summary"), h("div"));
    this.summary = h("p.summary-note", { hidden: true });
    this.body = h("div.answer-body");
    this.busyWith = h("span");
    this.goTo = h("button.text-button", { type: "button", hidden: true, onclick: () => this.#goToAsking() });
    this.withdraw = iconButton("close", "Withdraw this message", () => onWithdraw(turn), { hidden: true });
    this.state = h("div.state", { hidden: true }, h("span.pulse", { "aria-hidden": "true" }), this.busyWith, this.goTo, this.withdraw);
    this.ending = h("div.ending", { hidden: true });
    this.words = h("span");
    this.again = iconButton("again", "Answer again", () => onAgain(turn));
    this.copy = copyButton("Copy answer", () => turn.text);
    this.tools = h("div.tools", { hidden: true }, this.copy, this.again, this.words);
    const name = h("h2.visually-hidden", {}, "Answer");
    this.answer = h("article.answer", {}, name, this.memories, this.summary, this.body, this.state, this.ending, this.tools);
    this.element = h("section.turn", { "data-turn": turn.id }, this.user, this.answer);
  }

  /** What cannot be drawn must not keep the turns behind it from the screen. */
  update(conversation) {
    try {
      this.#update(conversation);
    } catch (error) {
      reportError(error);
      this.element.dataset.status = this.turn.status ?? "";
      this.#parts = [];
      this.body.replaceChildren(h("p.ending", {}, "This answer cannot be drawn. Here is its text."), h("div.markdown", {}, plainText(String(this.turn.text))));
    }
  }

  #update(conversation) {
    const turn = this.turn;
    this.user.hidden = !turn.user;
    if (turn.user && this.#userShown !== turn.user.text) {
      this.#userShown = turn.user.text;
      this.userText.replaceChildren(...textParts(turn.user.text));
    }
    this.#updateMemories(conversation);
    this.summary.hidden = !turn.summary;
    this.summary.textContent = turn.summary ? summaryWords(turn.summary) : "";
    this.#updateBody(conversation);
    this.updateState(conversation);
    this.#updateEnding(conversation);
    this.updateTime();
    this.#settle();
  }

  /** The state that style sheets see is told once the text of that state is there. */
  #settle() {
    if (this.#parts.every((view) => view.isDrawn ?? true)) this.element.dataset.status = this.turn.status ?? "";
  }

  #updateMemories(conversation) {
    const { memories } = this.turn;
    this.memories.hidden = !memories?.length;
    if (memories === this.#memories || !memories?.length) return;
    this.#memories = memories;
    this.memories.firstChild.textContent = recalledWords(memories);
    this.memories.lastChild.replaceChildren(recalledList(memories, conversation));
  }

  updateTime() {
    this.userTime.textContent = ago(this.turn.user?.at);
    for (const view of this.#parts) view.updateTime?.();
  }

  /** The parts of the answer. Each keeps its element while it grows, so that what a person types in a card stays. */
  #updateBody(conversation) {
    this.turn.parts.forEach((part, index) => {
      const key = `${part.kind} ${part.call?.id ?? part.id ?? ""}`;
      let view = this.#parts[index];
      if (view?.key !== key) {
        view?.element.remove();
        view = Object.assign(this.#view(part), { key });
        this.#parts[index] = view;
        this.body.insertBefore(view.element, this.body.children[index] ?? null);
      }
      view.update(part.call ?? part.budget ?? part.text, part, conversation);
    });
    for (const view of this.#parts.splice(this.turn.parts.length)) view.element.remove();
  }

  #view(part) {
    switch (part.kind) {
      case "text":
        return new MarkdownView(() => this.#settle());
      case "thinking":
        return new ThinkingView();
      case "call":
        return new ToolView(part.call);
      case "steered":
        return new SteeredView();
      default:
        return new BudgetView();
    }
  }

  /** What it is busy with, when no text tells it. */
  updateState(conversation) {
    const { status, heardAt, startedAt } = this.turn;
    const isOpen = ["queued", "running", "waiting"].includes(status);
    this.state.hidden = !isOpen;
    if (!isOpen) return;
    const words = this.busyWith;
    this.withdraw.hidden = status !== "queued";
    this.goTo.hidden = status !== "waiting" || !this.#asking;
    this.goTo.textContent = this.goTo.hidden ? "" : "Go to it";
    const since = Date.now() - (heardAt || startedAt || Date.now());
    if (status === "queued") words.textContent = this.turn.steers ? "Enters the answer above at its next step." : phaseWords("queued");
    else if (!conversation.isConnected) words.textContent = lostWords(Date.now() - conversation.lostAt, conversation.graceMs);
    else if (status === "waiting") words.textContent = waitingWords(this.turn.waitingFor);
    else if (heardAt && since < QUIET_MS) words.textContent = "Answering";
    else {
      const call = this.turn.calls.find((one) => one.state === "running");
      const phase = call ? `tool ${visibleLine(call.name, 60)}` : (conversation.phase ?? "model");
      words.textContent = `${phaseWords(phase)}${since >= 1000 ? `, ${Math.floor(since / 1000)} s` : ""}`;
    }
  }

  /** The card that waits for the reader. */
  get #asking() {
    return this.#parts.find((view) => view.isAsking) ?? null;
  }

  #goToAsking() {
    const card = this.#asking?.element;
    card?.scrollIntoView({ block: "nearest" });
    card?.focus({ preventScroll: true });
  }

  #updateEnding(conversation) {
    const { status, error, text, parts, usage, timings } = this.turn;
    const isOpen = ["queued", "running", "waiting"].includes(status);
    const words = isOpen ? "" : ending({ ...this.turn, text, reason: error?.message ? null : this.turn.reason }); // a message says what failed
    this.ending.hidden = !words;
    if (words) {
      const kept = text && status !== "replaced" ? " What was written is kept." : "";
      const detail = error?.message ? ` ${shorten(error.message, 300).replace(/[.!?…]?$/, ".")}` : "";
      this.ending.replaceChildren(h("strong", {}, `${words}.`), detail, kept);
    }
    this.again.hidden = conversation.status !== "active" || this.turn !== conversation.lastTurn;
    this.tools.hidden = isOpen || (!parts.length && this.again.hidden);
    this.answer.hidden = !isOpen && !parts.length && !words;
    this.copy.hidden = !text;
    this.words.textContent = usage?.completion_tokens && timings ? `${count(usage.completion_tokens)} tokens in ${duration(timings.total_ms)}` : "";
  }
}

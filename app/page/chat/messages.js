/** The conversation on the screen: one element for each turn, drawn again when its turn changes. */
import { copyButton } from "./copy.js";
import { h, icon, iconButton, say } from "./dom.js";
import { ago, count, duration, ending, flatten, lostWords, phaseWords, shorten } from "./format.js";
import { MarkdownView, plainText, textParts } from "./markdown.js";
import { recalledList, recalledWords, summaryWords } from "./recalled.js";

const NEAR_PX = 80;
const QUIET_MS = 1500;
const REST = 3; // a long code block is coloured again with each word: draw it a quarter of the time at most
const MOST_REST_MS = 500;

export class MessagesView {
  #conversation = null;
  #views = new Map();
  #changed = new Set();
  #isDue = false;
  #rest = 0; // milliseconds
  #sticks = true;
  #last = null;
  #status = null;

  constructor(root, { onOlder, onAgain, onWithdraw, onResend, onDiscard, agentOf }) {
    this.root = root;
    this.agentOf = agentOf;
    this.onAgain = onAgain;
    this.onWithdraw = onWithdraw;
    this.older = h("button.button.older", { type: "button", hidden: true, onclick: onOlder }, "Show earlier messages");
    this.welcome = h("div.welcome");
    this.list = h("div.turns");
    this.pending = new PendingView(onResend, onDiscard);
    this.end = h("button.jump", { type: "button", hidden: true, onclick: () => this.#jump() }, icon("down"), "Latest");
    root.append(h("div.column", {}, this.older, this.welcome, this.list, this.pending.element), this.end);
    root.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    new ResizeObserver(() => this.#sticks && this.#scroll()).observe(this.list);
    setInterval(() => this.#tick(), 1000);
  }

  show(conversation) {
    this.#conversation?.removeEventListener("change", this.#onChange);
    this.#conversation = conversation;
    this.#views.clear();
    this.list.replaceChildren();
    this.#sticks = true;
    this.end.hidden = true;
    conversation?.addEventListener("change", this.#onChange);
    conversation?.addEventListener("finished", ({ detail }) => announce(detail));
    conversation?.addEventListener("withdrawn", () => say("Message withdrawn"));
    this.#schedule();
  }

  #onChange = ({ detail }) => {
    if (detail) this.#changed.add(detail);
    this.#schedule();
  };

  #schedule() {
    if (this.#isDue) return;
    this.#isDue = true;
    setTimeout(() => {
      requestAnimationFrame(() => {
        this.#isDue = false;
        const began = performance.now();
        this.#draw();
        this.#rest = Math.min((performance.now() - began) * REST, MOST_REST_MS);
      });
    }, this.#rest);
  }

  #draw() {
    const conversation = this.#conversation;
    const turns = conversation ? [...conversation.turns.values()] : [];
    const known = new Set(turns);
    const last = conversation?.lastTurn ?? null;
    if (last !== this.#last || conversation?.status !== this.#status) {
      for (const turn of [last, this.#last]) if (turn) this.#changed.add(turn);
      this.#last = last;
      this.#status = conversation?.status;
    }
    for (const [turn, view] of this.#views) {
      if (known.has(turn)) continue;
      view.element.remove();
      this.#views.delete(turn);
    }
    turns.forEach((turn, index) => {
      let view = this.#views.get(turn);
      if (!view) {
        view = new TurnView(turn, this.onAgain, this.onWithdraw);
        this.#views.set(turn, view);
        this.#changed.add(turn);
      }
      if (this.list.children[index] !== view.element) this.list.insertBefore(view.element, this.list.children[index] ?? null);
      if (this.#changed.has(turn)) view.update(conversation);
    });
    this.#changed.clear();
    this.pending.update(conversation?.pending ?? []);
    this.older.hidden = !conversation?.nextBefore;
    this.#drawWelcome(turns.length > 0 || (conversation?.pending.length ?? 0) > 0);
    if (this.#sticks) this.#scroll();
  }

  #drawWelcome(hasTurns) {
    const agent = this.agentOf();
    this.welcome.hidden = hasTurns || Boolean(this.#conversation?.gone);
    if (this.welcome.hidden) return;
    if (!agent) return this.welcome.replaceChildren();
    this.welcome.replaceChildren(
      h("div.welcome-mark", { "aria-hidden": "true" }, (agent.name || agent.agent).slice(0, 1).toUpperCase()),
      h("h2", {}, agent.name || agent.agent),
      h("p", {}, agent.description || "Ask something to begin."),
      h("p.faint", {}, agent.llm.model),
    );
  }

  #tick() {
    const running = this.#conversation?.running;
    if (running) this.#views.get(running)?.updateState(this.#conversation);
    for (const view of this.#views.values()) view.updateTime();
  }

  #onScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.root;
    this.#sticks = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.end.hidden = this.#sticks;
  }

  #jump() {
    this.#sticks = true;
    this.#scroll();
  }

  #scroll() {
    this.root.scrollTop = this.root.scrollHeight;
  }
}

class TurnView {
  #texts = []; // MarkdownViews and the notes between them, in order
  #memories = null; // those that are shown
  #userShown = "";
  #thinkingShown = 0; // characters

  constructor(turn, onAgain, onWithdraw) {
    this.turn = turn;
    this.userText = h("div.bubble", { dir: "auto" });
    this.userTime = h("time.faint");
    const userTools = h("div.tools", {}, this.userTime, copyButton("Copy message", () => turn.user?.text ?? ""));
    this.user = h("article.user", {}, h("h2.visually-hidden", {}, "You"), this.userText, userTools);
    this.thinking = h("details.thinking", { hidden: true }, h("summary", {}, "Thinking"), h("div"));
    this.memories = h("details.thinking.memories", { hidden: true }, h("summary"), h("div"));
    this.summary = h("p.summary-note", { hidden: true });
    this.body = h("div.answer-body");
    this.busyWith = h("span");
    this.withdraw = iconButton("close", "Withdraw this message", () => onWithdraw(turn), { hidden: true });
    this.state = h("div.state", { hidden: true }, h("span.pulse", { "aria-hidden": "true" }), this.busyWith, this.withdraw);
    this.ending = h("div.ending", { hidden: true });
    this.words = h("span");
    this.again = iconButton("again", "Answer again", () => onAgain(turn));
    this.copy = copyButton("Copy answer", () => turn.text);
    this.tools = h("div.tools", { hidden: true }, this.copy, this.again, this.words);
    const name = h("h2.visually-hidden", {}, "Answer");
    this.answer = h("article.answer", {}, name, this.memories, this.summary, this.thinking, this.body, this.state, this.ending, this.tools);
    this.element = h("section.turn", { "data-turn": turn.id }, this.user, this.answer);
  }

  /** What cannot be drawn must not keep the turns behind it from the screen. */
  update(conversation) {
    try {
      this.#update(conversation);
    } catch (error) {
      reportError(error);
      this.element.dataset.status = this.turn.status ?? "";
      this.#texts = [];
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
    this.thinking.hidden = !turn.thinking;
    if (turn.thinking.length !== this.#thinkingShown) {
      this.#thinkingShown = turn.thinking.length;
      this.thinking.lastChild.textContent = flatten(turn.thinking);
    }
    this.#updateMemories(conversation);
    this.summary.hidden = !turn.summary;
    this.summary.textContent = turn.summary ? summaryWords(turn.summary) : "";
    this.#updateBody();
    this.updateState(conversation);
    this.#updateEnding(conversation);
    this.updateTime();
    this.#settle();
  }

  /** The state that style sheets see is told once the text of that state is there. */
  #settle() {
    if (this.#texts.every((view) => view.isDrawn)) this.element.dataset.status = this.turn.status ?? "";
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
  }

  /** The text, cut where tools have spoken. */
  #updateBody() {
    const { text, notes } = this.turn;
    const parts = [];
    let from = 0;
    for (const note of notes) {
      if (note.at > from) parts.push(text.slice(from, note.at));
      parts.push(note);
      from = Math.max(from, note.at);
    }
    if (text.length > from) parts.push(text.slice(from));
    parts.forEach((part, index) => {
      const isText = typeof part === "string";
      let view = this.#texts[index];
      if (!view || view.isText !== isText) {
        view = isText ? Object.assign(new MarkdownView(() => this.#settle()), { isText }) : { isText, isDrawn: true, element: h("pre.note", { dir: "auto" }) };
        this.#texts[index]?.element.remove();
        this.#texts[index] = view;
        this.body.insertBefore(view.element, this.body.children[index] ?? null);
      }
      if (isText) view.update(part);
      else view.element.textContent = flatten(part.chunk).trim() || part.type.replace("_", " ");
    });
    for (const view of this.#texts.splice(parts.length)) view.element.remove();
  }

  /** What it is busy with, when no text tells it. */
  updateState(conversation) {
    const { status, heardAt, startedAt } = this.turn;
    const isOpen = ["queued", "running", "waiting"].includes(status);
    this.state.hidden = !isOpen;
    if (!isOpen) return;
    const words = this.busyWith;
    this.withdraw.hidden = status !== "queued";
    const since = Date.now() - (heardAt || startedAt || Date.now());
    if (status === "queued") words.textContent = phaseWords("queued");
    else if (!conversation.isConnected) words.textContent = lostWords(Date.now() - conversation.lostAt, conversation.graceMs);
    else if (status === "waiting") words.textContent = phaseWords("waiting for approval");
    else if (heardAt && since < QUIET_MS) words.textContent = "Answering";
    else {
      const phase = conversation.phase ?? "model";
      words.textContent = `${phaseWords(phase)}${since >= 1000 ? `, ${Math.floor(since / 1000)} s` : ""}`;
    }
  }

  #updateEnding(conversation) {
    const { status, error, text, usage, timings } = this.turn;
    const isOpen = ["queued", "running", "waiting"].includes(status);
    const words = isOpen ? "" : ending({ ...this.turn, reason: error?.message ? null : this.turn.reason }); // a message says what failed
    this.ending.hidden = !words;
    if (words) {
      const kept = text && status !== "replaced" ? " What was written is kept." : "";
      const detail = error?.message ? ` ${shorten(error.message, 300).replace(/[.!?…]?$/, ".")}` : "";
      this.ending.replaceChildren(h("strong", {}, `${words}.`), detail, kept);
    }
    this.again.hidden = conversation.status !== "active" || this.turn !== conversation.lastTurn;
    this.tools.hidden = isOpen || (!text && this.again.hidden);
    this.answer.hidden = !isOpen && !text && !words;
    this.copy.hidden = !text;
    this.words.textContent = usage?.completion_tokens && timings ? `${count(usage.completion_tokens)} tokens in ${duration(timings.total_ms)}` : "";
  }
}

/** Messages that the server does not have yet. */
class PendingView {
  constructor(onResend, onDiscard) {
    this.element = h("div.pending-list");
    this.onResend = onResend;
    this.onDiscard = onDiscard;
    this.drawn = "";
  }

  update(pending) {
    pending = pending.filter((message) => !message.again || message.problem);
    const drawn = JSON.stringify(pending);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.element.replaceChildren(...pending.map((message) => this.#draw(message)));
  }

  #draw(message) {
    const state = message.problem
      ? h(
          "div.ending",
          {},
          h("strong", {}, "Not sent."),
          ` ${message.problem} `,
          h("button.text-button", { type: "button", onclick: () => this.onResend(message) }, "Send again"),
          h("button.text-button", { type: "button", onclick: () => this.onDiscard(message) }, "Discard"),
        )
      : h("div.state", {}, h("span.pulse", { "aria-hidden": "true" }), h("span", {}, "Sending"),
          iconButton("close", "Do not send this message", () => this.onDiscard(message)));
    return h("section.turn.pending", {}, h("article.user", {}, h("div.bubble", { dir: "auto" }, flatten(message.text))), state);
  }
}

function announce(turn) {
  const words = ending(turn);
  say(words ? `${words}.` : `Answer complete. ${shorten(turn.text, 600)}`);
}

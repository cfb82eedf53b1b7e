/** The conversation on the screen: one element for each turn, drawn again when its turn changes. */
import { h, icon, iconButton, say } from "./dom.js";
import { ending, flatten, shorten } from "./format.js";
import { TurnView } from "./turn-view.js";

const NEAR_PX = 80;
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

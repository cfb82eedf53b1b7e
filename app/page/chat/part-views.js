/** Parts of an answer that are neither text nor calls: what the model thinks, messages that steer, budgets. */
import { h } from "./dom.js";
import { budgetWords, flatten } from "./format.js";
import { textParts } from "./markdown.js";

const MOST_THINKING = 100_000; // characters that are shown, the newest

export class ThinkingView {
  #shown = 0; // characters

  constructor() {
    this.text = h("div");
    this.element = h("details.thinking", { ontoggle: () => this.#draw() }, h("summary", {}, "Thinking"), this.text);
  }

  update(text) {
    this.source = text;
    this.#draw();
  }

  /** Only while it is unfolded: it may be long, and few people look. */
  #draw() {
    if (!this.element.open || this.#shown === this.source.length) return;
    this.#shown = this.source.length;
    this.text.textContent = flatten(this.source.slice(-MOST_THINKING));
  }
}

/** A message that entered the running turn. */
export class SteeredView {
  #shown = null;

  constructor() {
    this.bubble = h("div.bubble", { dir: "auto" });
    this.element = h("div.user.steered", {}, h("h3.visually-hidden", {}, "You, while it was answering"), this.bubble, h("p.faint", {}, "Steered"));
  }

  update(text) {
    if (text === this.#shown) return;
    this.#shown = text;
    this.bubble.replaceChildren(...textParts(text));
  }
}

export class BudgetView {
  constructor() {
    this.element = h("p.budget-note", { role: "note" });
  }

  update(budget) {
    const words = budgetWords(budget);
    if (this.element.textContent !== words) this.element.textContent = words;
  }
}

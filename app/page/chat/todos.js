/** The agent's list of tasks, pinned above the message box. */
import { h } from "./dom.js";
import { visible, visibleLine } from "./visible.js";

const MOST = 100;
const MARKS = { completed: "✓", done: "✓", in_progress: "▸", cancelled: "–" };
const WORDS = { completed: "done", done: "done", in_progress: "in progress", cancelled: "cancelled" };

export class TodoView {
  #drawn = "";

  constructor() {
    this.title = h("summary");
    this.list = h("ol");
    this.element = h("details.todos", { hidden: true }, this.title, this.list);
  }

  update(todos) {
    const items = todos.filter((todo) => todo && typeof todo === "object").slice(0, MOST);
    const drawn = JSON.stringify(items);
    this.element.hidden = !items.length;
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const done = items.filter((todo) => WORDS[todo.status] === "done").length;
    const current = items.find((todo) => todo.status === "in_progress");
    this.title.textContent = `Tasks: ${done} of ${items.length} done${current ? `. Now: ${visibleLine(current.content, 80)}` : ""}`;
    this.list.replaceChildren(...items.map((todo) => this.#item(todo)));
  }

  #item({ content, status }) {
    return h("li", { dir: "auto", "data-status": WORDS[status] ?? "open" },
      h("span.mark", { "aria-hidden": "true" }, MARKS[status] ?? "○"),
      h("span", {}, visible(String(content ?? ""), 300), h("span.visually-hidden", {}, ` (${WORDS[status] ?? "open"})`)));
  }
}

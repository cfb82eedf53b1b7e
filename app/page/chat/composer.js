/** The message box: Enter sends, Shift-Enter begins a line, the text survives a reload. */
import { h, icon, iconButton } from "./dom.js";
import { TodoView } from "./todos.js";

function draftName(name) {
  return `hector.draft.${name}`;
}

export class Composer {
  #name = "";
  #given = ""; // what was put back and not changed since

  /** `onSend(text, {steers})`. */
  constructor(root, { onSend, onStop, onStopAll, onNew }) {
    this.onSend = onSend;
    this.todos = new TodoView();
    this.text = h("textarea", {
      id: "composer-text",
      rows: 1,
      disabled: true, // until it is known for which session
      dir: "auto",
      placeholder: "Write a message",
      "aria-label": "Message",
      "aria-describedby": "composer-hint",
      oninput: () => this.#changed(),
      onkeydown: (event) => this.#onKey(event),
    });
    this.sendButton = iconButton("send", "Send", () => this.#send(), { disabled: true });
    this.stopButton = iconButton("stop", "Stop the answer (Esc)", onStop, { hidden: true });
    this.sendButton.classList.add("send");
    this.stopButton.classList.add("stop");
    this.waiting = h("span");
    const stopAll = h("button.text-button", { type: "button", title: "Stop the answer and withdraw what waits (Esc twice)", onclick: onStopAll }, "Stop all");
    this.queue = h("div.composer-queue", { hidden: true }, this.waiting, stopAll);
    this.box = h("div.composer-box", {}, this.text, h("div.composer-buttons", {}, this.stopButton, this.sendButton));
    this.closed = h("div.composer-closed", { hidden: true });
    this.newButton = h("button.button.primary", { type: "button", onclick: onNew }, icon("plus"), "New session");
    const hint = h("p.composer-hint", { id: "composer-hint" }, "Enter sends, Shift-Enter begins a new line, Esc stops, Esc twice stops all.");
    const choice = (value, words) => h("label", {}, h("input", { type: "radio", name: "on-busy", value, checked: value === "queue" }), h("span", {}, words));
    this.steering = h("fieldset.steering", { hidden: true }, h("legend.visually-hidden", {}, "A message that is sent now"), choice("queue", "waits its turn"), choice("steer", "steers this answer"));
    root.append(this.todos.element, this.queue, this.steering, this.box, this.closed, hint);
  }

  /** Drafts are kept for each session. */
  open(name) {
    if (this.#name === draftName(name)) return;
    this.#name = draftName(name);
    this.text.disabled = false;
    this.text.value = sessionStorage.getItem(this.#name) ?? "";
    this.#changed();
  }

  /** What is written here is for a session that has just been made. */
  rename(name) {
    sessionStorage.removeItem(this.#name);
    this.#name = draftName(name);
    this.#changed();
  }

  /** Put a withdrawn message back to be edited, below others that were put back. False: something else is written here. */
  giveBack(text) {
    if (this.text.value && this.text.value !== this.#given) return false;
    this.text.value = this.#given = this.text.value ? `${this.text.value}\n\n${text}` : text;
    this.#changed();
    this.focus();
    return true;
  }

  focus() {
    if (!this.box.hidden && matchMedia("(hover: hover)").matches) this.text.focus(); // on a phone the keyboard would jump up
  }

  /** `queued`: how many messages wait; `closed`: why no message can be written, or `""`; `todos`: the agent's tasks. */
  update({ isBusy, isRunning, queued, closed, todos }) {
    this.todos.update(todos);
    this.stopButton.hidden = !isBusy;
    this.steering.hidden = !isRunning || closed !== "";
    this.queue.hidden = queued === 0;
    this.waiting.textContent = queued === 1 ? "1 message waits." : `${queued} messages wait.`;
    this.box.hidden = closed !== "";
    this.closed.hidden = closed === "";
    if (closed && this.closed.firstChild?.textContent !== closed) this.closed.replaceChildren(h("span", {}, closed), this.newButton);
  }

  #changed() {
    this.sendButton.disabled = this.text.value.trim() === "";
    this.text.style.height = "auto";
    this.text.style.height = `${this.text.scrollHeight}px`;
    if (this.text.value) sessionStorage.setItem(this.#name, this.text.value);
    else sessionStorage.removeItem(this.#name);
  }

  #onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#send();
  }

  #send() {
    const text = this.text.value.trim();
    if (!text) return;
    this.text.value = "";
    this.#changed();
    this.onSend(text, { steers: !this.steering.hidden && this.steering.querySelector("input:checked").value === "steer" });
  }
}

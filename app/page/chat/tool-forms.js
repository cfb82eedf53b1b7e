/** What a card asks of the reader: to approve a call, to answer a question, to say what became of a call. */
import { answer, decide, resolve } from "./acting.js";
import { parsed } from "./acts.js";
import { Refused } from "./api.js";
import { h } from "./dom.js";
import { ago, shorten } from "./format.js";
import { SchemaForm } from "./schema-form.js";
import { MOST, escaped, valueText, visible, visibleLine } from "./visible.js";

const MOST_CHOICES = 40;
let number = 0;

/** Sends once at a time and says what was wrong. Keys: see `keys`; Esc folds what was unfolded, and stops no answer. */
class Form {
  isSending = false;

  constructor(name) {
    this.problem = h("p.tool-problem", { role: "alert", hidden: true });
    this.element = h(`div.tool-ask.${name}`, { onkeydown: (event) => this.#onKey(event) });
  }

  complain(words) {
    this.problem.hidden = !words;
    this.problem.textContent = words;
  }

  async send(action) {
    if (this.isSending) return;
    this.isSending = true;
    this.element.setAttribute("aria-busy", "true");
    this.complain("");
    const card = this.element.closest(".tool");
    try {
      await action();
      card?.focus({ preventScroll: true }); // the button that was pressed is gone
    } catch (error) {
      this.complain(error instanceof Refused ? error.message : "The server cannot be reached. Try again.");
    } finally {
      this.isSending = false;
      this.element.removeAttribute("aria-busy");
    }
  }

  keys = {};

  #onKey(event) {
    if (event.key === "Escape" && this.fold?.()) {
      event.preventDefault();
      event.stopPropagation();
    } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.target.closest("form")?.requestSubmit();
    } else if (!event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("input, textarea, select")) {
      this.press(event);
    }
  }

  /** A key of the card. */
  press(event) {
    const action = this.keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }
}

function button(label, onclick, selector = "button.button") {
  return h(selector, { type: onclick ? "button" : "submit", onclick }, label);
}

function labelled(label, field) {
  field.id = `tool-field-${++number}`;
  return [h("label", { htmlFor: field.id }, label), field];
}

/** A form whose Enter does `submit`. */
function formOf(submit, ...children) {
  return h("form.tool-edit", { hidden: true, onsubmit: (event) => { event.preventDefault(); submit(); } }, ...children);
}

export class ApprovalForm extends Form {
  constructor(call, conversation) {
    super("approval");
    Object.assign(this, { call, conversation });
    this.why = h("p", {}, visible(call.why || "This call needs your approval.", 1000), call.rule && !call.why?.includes(call.rule) ? [" ", h("code", { dir: "ltr" }, visibleLine(call.rule))] : null);
    this.expires = h("p.faint");
    this.remember = h("select", {}, h("option", { value: "" }, "for this call"), h("option", { value: "session" }, "for calls like it in this session"), h("option", { value: "agent" }, "for calls like it of this agent"));
    this.json = h("textarea", { rows: 6, spellcheck: false, dir: "ltr", oninput: () => this.#check() });
    this.reason = h("input", { dir: "auto", maxLength: 500, placeholder: "The model is told" });
    this.editing = formOf(() => this.#approveEdited(), labelled("Arguments as JSON", this.json), h("div.tool-buttons", {}, button("Approve with these arguments", null, "button.button.primary"), button("Cancel", () => this.fold())));
    this.refusing = formOf(() => this.#decide({ approved: false, reason: this.reason.value.trim() || undefined }), labelled("Reason (may be empty)", this.reason), h("div.tool-buttons", {}, button("Refuse", null, "button.button.danger"), button("Cancel", () => this.fold())));
    this.approve = button("Approve", () => this.#decide({ approved: true }), "button.button.primary");
    this.edit = button("Edit…", () => this.#unfold(this.editing, this.json));
    this.refuse = button("Refuse…", () => this.#unfold(this.refusing, this.reason));
    this.approve.title = "y, on the card";
    this.edit.title = "e, on the card";
    this.refuse.title = "n, on the card";
    this.keys = { y: () => this.approve.click(), n: () => this.refuse.click(), e: () => this.edit.click() };
    this.buttons = h("div.tool-buttons", {}, this.approve, this.edit, this.refuse, h("span.remember", {}, labelled("Approval holds", this.remember)));
    this.element.append(this.why, this.buttons, this.editing, this.refusing, this.problem, this.expires);
    this.updateTime();
  }

  updateTime() {
    const { expiresAt } = this.call;
    if (!expiresAt) return;
    const isOver = Date.parse(expiresAt) <= Date.now();
    const words = isOver ? "Expired: it counts as refused." : `Expires ${ago(expiresAt)}, then it counts as refused.`;
    if (this.expires.textContent !== words) this.expires.textContent = words;
  }

  #unfold(form, field) {
    this.editing.hidden = form !== this.editing;
    this.refusing.hidden = form !== this.refusing;
    if (form === this.editing && !this.json.value) {
      this.json.value = escaped(valueText(this.call.arguments ?? {}));
      this.json.rows = Math.min(Math.max(this.json.value.split("\n", 20).length, 4), 16);
    }
    field.focus();
  }

  /** Whether something was unfolded. */
  fold() {
    const wasOpen = !this.editing.hidden || !this.refusing.hidden;
    const back = this.editing.hidden ? this.refuse : this.edit;
    this.editing.hidden = this.refusing.hidden = true;
    this.complain("");
    if (wasOpen) back.focus();
    return wasOpen;
  }

  /** The arguments as they are written; `null`, with a complaint, when they are none. */
  #check() {
    let found = null;
    try {
      found = JSON.parse(this.json.value);
      const isObject = found !== null && typeof found === "object" && !Array.isArray(found);
      this.complain(isObject ? "" : "Arguments are a JSON object: { … }.");
      if (!isObject) found = null;
    } catch (error) {
      this.complain(`This is not JSON: ${error.message}`);
    }
    if (found) this.json.removeAttribute("aria-invalid");
    else this.json.setAttribute("aria-invalid", "true");
    return found;
  }

  #approveEdited() {
    const found = this.#check();
    if (found) this.#decide({ approved: true, arguments: found });
    else this.json.focus();
  }

  #decide(decision) {
    const remember = decision.approved ? this.remember.value || undefined : undefined;
    this.send(() => decide(this.conversation, this.call, { ...decision, remember }));
  }
}

export class QuestionForm extends Form {
  constructor(call, conversation) {
    super("question");
    Object.assign(this, { call, conversation });
    const { question, choices, schema } = call.asked ?? { question: "The tool asks for an answer.", choices: [], schema: null };
    this.element.append(h("p.question-text", { dir: "auto" }, visible(question, 4000)));
    if (choices.length) this.element.append(this.#choices(choices));
    else this.element.append(this.#field(schema));
    this.expires = h("p.faint");
    this.element.append(this.problem, this.expires);
    this.updateTime();
  }

  updateTime() {
    const { expiresAt } = this.call;
    if (expiresAt) this.expires.textContent = Date.parse(expiresAt) > Date.now() ? `Expires ${ago(expiresAt).replace(/\.$/, "")}.` : "Expired.";
  }

  #choices(choices) {
    const shown = choices.slice(0, MOST_CHOICES).map((choice) => button(visible(shorten(String(choice), 200)), () => this.#answer(choice)));
    shown.forEach((one) => (one.dir = "auto"));
    return h("div.tool-buttons", {}, shown);
  }

  #field(schema) {
    const fields = new SchemaForm(schema);
    const form = formOf(() => {
      const { value, problem } = fields.read();
      if (problem) this.complain(problem);
      else this.#answer(value);
    }, fields.element, h("div.tool-buttons", {}, button("Answer", null, "button.button.primary")));
    form.hidden = false;
    return form;
  }

  #answer(value) {
    this.send(() => answer(this.conversation, this.call, value));
  }
}

/** The server went down inside the call, or a remote answer was lost: only a person can tell what became of it. */
export class UnknownForm extends Form {
  constructor(call, conversation) {
    super("unknown");
    Object.assign(this, { call, conversation });
    this.result = h("textarea", { rows: 2, dir: "auto" });
    const done = formOf(() => this.#resolve({ happened: true, ...this.#given() }), labelled("Its result, if you know it", this.result), h("div.tool-buttons", {}, button("It happened", null, "button.button.primary"), button("Cancel", () => this.fold())));
    this.done = done;
    this.happened = button("It happened…", () => { done.hidden = false; this.result.focus(); });
    this.element.append(
      h("p", {}, "Nobody knows whether this call happened: it was interrupted in the middle. Find out, then say so."),
      h("div.tool-buttons", {}, this.happened, button("It did not", () => this.#resolve({ happened: false })), button("Run it again", () => this.#resolve({ again: true }))),
      done,
      this.problem,
    );
  }

  fold() {
    const wasOpen = !this.done.hidden;
    this.done.hidden = true;
    if (wasOpen) this.happened.focus();
    return wasOpen;
  }

  #given() {
    const text = this.result.value.trim();
    return text ? { result: parsed(text.slice(0, MOST * 10)) } : {};
  }

  #resolve(resolution) {
    this.send(() => resolve(this.conversation, this.call, resolution));
  }
}

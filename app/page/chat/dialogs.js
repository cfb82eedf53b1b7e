/** Questions to the user, as modal dialogs: the browser keeps the focus inside and closes them with Esc. */
import { h } from "./dom.js";

/** The form's values when confirmed, else `null`. `problem`: what was wrong with the values before. */
function open({ title, text, problem, fields = [], confirm, isDanger = false, other = null }) {
  return new Promise((resolve) => {
    const cancel = h("button.button", { type: "button", onclick: () => dialog.close() }, "Cancel");
    const submit = h(isDanger ? "button.button.danger" : "button.button.primary", { type: "submit" }, confirm);
    const inputs = fields.map(({ label, ...properties }, index) => {
      const input = h("input", { id: `field-${index}`, autocomplete: "off", dir: "auto", ...properties });
      if (problem) {
        input.setAttribute("aria-invalid", "true");
        input.setAttribute("aria-describedby", "dialog-problem");
      }
      return [h("label", { htmlFor: input.id }, label), input];
    });
    const form = h(
      "form",
      {
        onsubmit: (event) => {
          event.preventDefault(); // nothing leaves this page by a form
          dialog.returnValue = "yes";
          dialog.close("yes");
        },
      },
      h("h2", { id: "dialog-title" }, title),
      problem ? h("p.dialog-problem", { id: "dialog-problem", role: "alert" }, problem) : null,
      text ? h("p", {}, text) : null,
      inputs.flat(),
      h("div.dialog-buttons", {}, other && h("button.button.other", { type: "button", onclick: () => dialog.close(other.value) }, other.label), cancel, submit),
    );
    const dialog = h("dialog.dialog", { "aria-labelledby": "dialog-title" }, form);
    dialog.onclose = () => {
      if (dialog.returnValue === "yes") resolve(inputs.map(([, input]) => input.value));
      else resolve(other && dialog.returnValue === other.value ? [""] : null);
      dialog.remove();
    };
    document.body.append(dialog);
    dialog.showModal();
    (inputs[0]?.[1] ?? (isDanger ? cancel : submit)).focus();
    inputs[0]?.[1].select();
  });
}

export async function askToConfirm(question) {
  return (await open(question)) !== null;
}

export async function askForText(title, label, value) {
  const values = await open({ title, fields: [{ label, value, maxLength: 500 }], confirm: "Save" });
  return values && values[0].trim();
}

const KEY = { label: "Key", type: "password", required: true };
const KEPT = "It is kept in this tab only, until you close it.";

/** The key that the server asks for, or `null`. */
export async function askForKey(isRefused) {
  const values = await open({
    title: "This server asks for a key",
    problem: isRefused ? "The server does not accept this key." : null,
    text: KEPT,
    fields: [KEY],
    confirm: "Continue",
  });
  return values && values[0].trim();
}

/** A key that the user wants to enter; `""` to log out; `null` to leave it. */
export async function changeKey(hasKey) {
  const values = await open({
    title: hasKey ? "Change the key" : "Enter a key",
    text: hasKey ? "This tab has a key. Logging out removes it, and what you have not sent." : `No key is set. If this server needs one, enter it here. ${KEPT}`,
    fields: [KEY],
    confirm: "Continue",
    other: hasKey ? { label: "Log out", value: "other" } : null,
  });
  return values && values[0].trim();
}

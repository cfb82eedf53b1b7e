/** Questions to the user, as modal dialogs: the browser keeps the focus inside and closes them with Esc. */
import { h } from "./dom.js";

/** The form's values when confirmed, else `null`. */
function open({ title, text, fields = [], confirm, isDanger = false }) {
  return new Promise((resolve) => {
    const cancel = h("button.button", { type: "button", onclick: () => dialog.close() }, "Cancel");
    const submit = h(isDanger ? "button.button.danger" : "button.button.primary", { type: "submit" }, confirm);
    const inputs = fields.map(({ label, ...properties }, index) => {
      const input = h("input", { id: `field-${index}`, autocomplete: "off", ...properties });
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
      text ? h("p", {}, text) : null,
      inputs.flat(),
      h("div.dialog-buttons", {}, cancel, submit),
    );
    const dialog = h("dialog.dialog", { "aria-labelledby": "dialog-title" }, form);
    dialog.onclose = () => {
      resolve(dialog.returnValue === "yes" ? inputs.map(([, input]) => input.value) : null);
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

/** The key, or `null`. */
export async function askForKey(isRefused) {
  const values = await open({
    title: "This server asks for a key",
    text: isRefused ? "The key was not accepted. Please check it." : "It is kept in this tab only, until you close it.",
    fields: [{ label: "Key", type: "password", required: true }],
    confirm: "Continue",
  });
  return values && values[0].trim();
}

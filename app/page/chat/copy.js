/** Buttons that copy a text and say that they did. */
import { icon, iconButton, say } from "./dom.js";

export function copyButton(label, text) {
  const button = iconButton("copy", label, async () => {
    const isCopied = await copy(text());
    say(isCopied ? "Copied" : "Copying was refused by the browser");
    if (!isCopied) return;
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // https and localhost only
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    document.body.append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    return isCopied;
  }
}

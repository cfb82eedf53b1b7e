/** Above the conversation: its title and state, and what can be done with the session. */
import { h, iconButton } from "./dom.js";
import { sessionTitle } from "./sidebar.js";

const PILLS = {
  ending: "ending",
  ended: "ended",
  expired: "expired",
  session_terminated: "terminated",
  session_expired: "expired",
  session_not_found: "not found",
};

export class Topbar {
  constructor(root, { onMenu, onInspect, onRename, onEnd, onDelete }) {
    this.menuButton = iconButton("menu", "Show agents and sessions", onMenu, {
      className: "icon-button only-narrow",
      "aria-controls": "sidebar",
      "aria-expanded": "false",
    });
    this.title = h("h1.title", { dir: "auto" });
    this.pill = h("span.pill", { hidden: true });
    this.inspectButton = iconButton("chart", "Inspect the session", onInspect, { "aria-controls": "inspector", "aria-expanded": "false" });
    const item = (label, action, name = "button.menu-item") =>
      h(name, { type: "button", onclick: () => { this.actions.open = false; action(); } }, label);
    this.rename = item("Rename", onRename);
    this.end = item("End session", onEnd);
    this.delete = item("Delete session", onDelete, "button.menu-item.danger-text");
    const summary = h("summary.icon-button", { title: "More", "aria-label": "More actions" }, iconButton("more", "More", null).firstChild);
    this.actions = h("details.menu", {}, summary, h("div.menu-items", {}, this.rename, this.end, this.delete));
    root.append(this.menuButton, h("div.title-box", {}, this.title, this.pill), this.inspectButton, this.actions);
    document.addEventListener("click", (event) => {
      if (!this.actions.contains(event.target)) this.actions.open = false;
    });
    this.actions.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.actions.open) return;
      event.stopPropagation();
      this.actions.open = false;
      summary.focus();
    });
  }

  update(conversation, agentName) {
    const session = conversation?.session;
    const title = session ? sessionTitle(session) : conversation ? "Session" : agentName === undefined ? "No such agent" : "New session";
    this.title.textContent = title;
    document.title = conversation?.session ? `${title} – Hector` : `${agentName || "Hector"} – Hector`;
    const words = conversation ? PILLS[conversation.status] : undefined;
    this.pill.hidden = !words;
    this.pill.textContent = words ?? "";
    const isThere = Boolean(session) && !conversation.gone;
    this.actions.hidden = !isThere;
    this.inspectButton.hidden = !isThere;
    this.end.disabled = conversation?.status !== "active";
  }
}

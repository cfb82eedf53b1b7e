/** Agents and their sessions: choose, search, start a new one. */
import { agentPath, call } from "./api.js";
import { h, icon, iconButton } from "./dom.js";
import { ago, flatten } from "./format.js";

const PAGE = 100;
const MOST_PAGES_SEARCHED = 10;

export function sessionTitle(session) {
  return flatten(session.title ?? "") || `Session ${session.session_id.slice(-8)}`;
}

/** The session a link leads to; sessions in the address survive a reload and can be kept as a bookmark. */
export function hashOf(agent, sessionId) {
  return `#/${encodeURIComponent(agent)}${sessionId ? `/${encodeURIComponent(sessionId)}` : ""}`;
}

export class Sidebar {
  #sessions = [];
  #cursor = null;
  #agent = "";
  #current = null;
  #load = 0;

  constructor(root, { onAgent, onClose, onTheme, onName, onKey }) {
    this.root = root;
    this.choice = h("select", { "aria-label": "Agent", onchange: () => onAgent(this.choice.value) });
    this.newLink = h("a.button.primary.wide", {}, icon("plus"), "New session");
    this.search = h("input", { type: "search", placeholder: "Search sessions", dir: "auto", "aria-label": "Search sessions", oninput: () => this.#search() });
    this.list = h("ul.session-list");
    this.empty = h("p.faint.empty", { hidden: true });
    this.more = h("button.button.wide", { type: "button", hidden: true, onclick: () => this.#more() }, "Show more");
    root.append(
      h("div.sidebar-head", {}, h("span.brand", {}, "Hector"), iconButton("close", "Close the list", onClose, { className: "icon-button only-narrow" })),
      h("div.sidebar-tools", {}, this.choice, this.newLink, this.search),
      h("div.sidebar-list", {}, this.list, this.empty, this.more),
      h("div.sidebar-foot", {}, iconButton("theme", "Dark or light", onTheme), iconButton("user", "Your name", onName), iconButton("key", "Key of this server", onKey)),
    );
  }

  setAgents(agents) {
    this.choice.replaceChildren(...agents.map((agent) => h("option", { value: agent.agent }, agent.name || agent.agent)));
    this.choice.hidden = agents.length < 2;
  }

  /** Marks what is open; loads the list when the agent is another one; `""` when there is none to be chosen. */
  show(agent, sessionId) {
    this.#current = sessionId;
    this.choice.value = agent;
    this.newLink.href = agent ? hashOf(agent) : "#/"; // of the first agent
    if (agent !== this.#agent) {
      this.#agent = agent;
      this.#sessions = [];
      this.search.value = "";
      this.refresh();
    }
    this.#draw();
  }

  async refresh() {
    const load = ++this.#load;
    if (!this.#agent) return;
    const page = await this.#page(null);
    if (load !== this.#load) return;
    this.#sessions = page.sessions;
    this.#cursor = page.next_cursor;
    this.#draw();
    if (this.search.value) await this.#search();
  }

  /** A session that changed: first in the list, for it is the newest active one. */
  put(session) {
    this.#sessions = [session, ...this.#sessions.filter((other) => other.session_id !== session.session_id)];
    this.#draw();
  }

  remove(sessionId) {
    this.#sessions = this.#sessions.filter((other) => other.session_id !== sessionId);
    this.#draw();
  }

  #page(cursor) {
    const query = new URLSearchParams({ limit: PAGE, order: "activity", ...(cursor ? { cursor } : {}) });
    return call("GET", `${agentPath(this.#agent)}/sessions?${query}`);
  }

  async #more() {
    const load = this.#load;
    const page = await this.#page(this.#cursor);
    if (load !== this.#load) return;
    const known = new Set(this.#sessions.map((session) => session.session_id));
    this.#sessions.push(...page.sessions.filter((session) => !known.has(session.session_id)));
    this.#cursor = page.next_cursor;
    this.#draw();
  }

  /** The list has titles only; the server offers no search, so what is not here yet is fetched, within reason. */
  async #search() {
    this.#draw();
    for (let pages = 0; this.search.value && this.#cursor && pages < MOST_PAGES_SEARCHED; pages++) await this.#more();
  }

  #draw() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.#sessions.filter((session) => {
      const text = `${sessionTitle(session)} ${session.session_id}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    this.list.replaceChildren(...found.map((session) => this.#item(session)));
    this.empty.hidden = found.length > 0 || !this.#agent;
    this.empty.textContent = words.length ? "No sessions match." : "No sessions yet.";
    this.more.hidden = !this.#cursor || words.length > 0;
  }

  #item(session) {
    const isCurrent = session.session_id === this.#current;
    const state = session.ending ? "ending" : session.status;
    return h(
      "li",
      {},
      h(
        "a.session",
        { href: hashOf(this.#agent, session.session_id), "aria-current": isCurrent ? "page" : null },
        h("span.session-title", { dir: "auto" }, sessionTitle(session)),
        h("span.session-meta", {}, ago(session.active_at), state === "active" ? null : h("span.pill", {}, state)),
      ),
    );
  }
}

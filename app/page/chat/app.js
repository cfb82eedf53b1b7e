/** The page: what the address names is shown, and what the user does is done. */
import { Refused, call, getKey, getUser, onKeyNeeded, sessionPath, setKey, setUser } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { askForKey, askForText, askToConfirm, changeKey } from "./dialogs.js";
import { h, say } from "./dom.js";
import { Follower } from "./follower.js";
import { Inspector } from "./inspector.js";
import { MessagesView } from "./messages.js";
import { start as startRendering } from "./rendering.js";
import { createSession, discard, resumeSending, send, sendAgain, sendUnseen } from "./sender.js";
import { Sidebar, hashOf, sessionTitle } from "./sidebar.js";
import { toggleTheme } from "./theme.js";
import { Topbar } from "./topbar.js";

const element = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 800px)");
const TWICE_MS = 2000; // between two presses of Esc that mean all
const others = new BroadcastChannel("hector.sessions"); // other tabs of this browser: their lists change with ours

const state = {
  agents: [],
  agent: "",
  conversation: null,
  follower: null,
  link: { state: "idle" },
  wantsBack: new Set(), // turns whose messages go back into the box once they are withdrawn
};

// -- parts ------------------------------------------------------------------------------------------

const sidebar = new Sidebar(element("sidebar"), {
  onAgent: (agent) => go(agent),
  onClose: () => showSidebar(false),
  onTheme: toggleTheme,
  onName: enterName,
  onKey: enterKey,
});
const topbar = new Topbar(element("topbar"), {
  onMenu: () => showSidebar(true),
  onInspect: () => showInspector(element("inspector").hidden),
  onRename: rename,
  onEnd: end,
  onDelete: terminate,
});
const messages = new MessagesView(element("messages"), {
  onOlder: loadOlder,
  onAgain: answerAgain,
  onWithdraw: withdraw,
  onResend: (message) => sendAgain(state.conversation, state.follower, message),
  onDiscard: (message) => {
    composer.giveBack(message.text);
    discard(state.conversation, message);
  },
  agentOf: knownAgent,
});
const composer = new Composer(element("composer"), {
  onSend: submit,
  onStop: stop,
  onStopAll: stopAll,
  onNew: () => go((knownAgent() ?? state.agents[0]).agent),
});
const inspector = new Inspector(element("inspector"), { onClose: () => showInspector(false) });

// -- what the address names -------------------------------------------------------------------------

function go(agent, sessionId = null) {
  show(hashOf(agent, sessionId));
}

/** At once: what is typed next belongs to what is shown then, and the event of the change comes later. */
function show(hash) {
  location.hash = hash;
  route();
}

let shown = null; // the address that the page shows

function route() {
  showSidebar(false);
  if (shown === location.hash) return;
  shown = location.hash;
  const [, agent = "", sessionId = ""] = location.hash.split("/").map(decode);
  const [first] = state.agents;
  if (!agent && first) return location.replace(hashOf(first.agent));
  state.agent = agent;
  sidebar.show(knownAgent() ? agent : "", sessionId);
  if (state.conversation?.agent !== agent || (state.conversation?.sessionId ?? "") !== sessionId) open(sessionId);
  composer.open(`${agent}/${sessionId}`);
  composer.focus();
}

/** A part of the address, which anybody may have written. */
function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function open(sessionId) {
  const agent = knownAgent();
  state.follower?.stop();
  state.link = { state: "idle" };
  state.conversation = agent && sessionId ? new Conversation(state.agent, sessionId, agent.disconnect_grace_ms) : null;
  messages.show(state.conversation);
  if (state.conversation) {
    follow(state.conversation);
    resumeSending(state.conversation, state.follower);
  } else {
    showInspector(false);
  }
  inspector.show(state.conversation);
  update();
}

function follow(conversation) {
  const follower = new Follower(conversation, (link) => {
    if (conversation !== state.conversation) return;
    if (link.state === "lost" && state.link.state !== "lost") say("The connection is lost. Trying again.");
    if (link.state === "live" && state.link.state === "lost") say("Connected again.");
    state.link = link;
    conversation.setConnected(link.state !== "lost");
    update();
  });
  state.follower = follower;
  conversation.addEventListener("change", () => conversation === state.conversation && update());
  conversation.addEventListener("finished", () => afterTurn(conversation));
  conversation.addEventListener("gone", () => forget(conversation));
  conversation.addEventListener("withdrawn", ({ detail }) => takeBack(conversation, detail));
  follower.run();
}

function knownAgent() {
  return state.agents.find((agent) => agent.agent === state.agent);
}

async function afterTurn(conversation) {
  const session = await call("GET", sessionPath(conversation.agent, conversation.sessionId)).catch(() => null);
  if (!session) return;
  conversation.setSession(session);
  if (conversation.agent === state.agent) sidebar.put(session);
  others.postMessage(conversation.agent);
  if (conversation === state.conversation) inspector.refresh().catch(() => {});
}

// -- what the user does -----------------------------------------------------------------------------

const beginnings = new Map(); // by agent: the session for what is written on the page without one, while it is created

async function submit(text, { steers = false } = {}) {
  if (!text) return;
  const { agent } = state;
  try {
    if (!state.conversation) {
      if (!beginnings.has(agent)) beginnings.set(agent, beginSession(agent, text).finally(() => beginnings.delete(agent)));
      const session = await beginnings.get(agent);
      if (state.conversation?.sessionId !== session.session_id) return await sendUnseen(session, text); // something else is shown by now
    }
    await send(state.conversation, state.follower, text, { steers });
  } catch (error) {
    composer.text.value ||= text;
    complain(error);
  }
}

async function beginSession(agent, text) {
  const session = await createSession(agent, text);
  others.postMessage(agent);
  if (agent !== state.agent) return session;
  sidebar.put(session);
  if (state.conversation) return session;
  composer.rename(`${agent}/${session.session_id}`); // the next message may be half written by now
  history.replaceState(null, "", hashOf(agent, session.session_id));
  route();
  state.conversation.session = session;
  return session;
}

/** Regenerate the last answer. A regenerated answer has no question of its own: the question before is its question. */
function answerAgain(turn) {
  const questions = [...state.conversation.turns.values()].map((other) => other.user).filter(Boolean);
  const question = turn.user ?? questions.at(-1);
  if (question?.id) send(state.conversation, state.follower, question.text, { again: question.id });
}

let stoppedAt = 0;

async function stop() {
  stoppedAt = Date.now();
  const turn = state.conversation?.openTurn;
  if (!turn) return;
  say(state.conversation.queued.length ? "Stopping this answer. Esc again stops all." : "Stopping");
  if (turn.status === "queued") await withdraw(turn);
  else await cancel({ turn_id: turn.id });
}

/** The answer, and all that waits. */
async function stopAll() {
  const { conversation } = state;
  say("Stopping all");
  for (const message of conversation.pending.filter((message) => !message.problem)) {
    composer.giveBack(message.text);
    discard(conversation, message);
  }
  for (const turn of conversation.queued) state.wantsBack.add(turn);
  await cancel({ all: true });
}

async function withdraw(turn) {
  state.wantsBack.add(turn);
  await cancel({ turn_id: turn.id });
}

async function cancel(what) {
  const { follower } = state;
  await attempt("POST", "/cancel", what);
  follower.wake();
}

/** A message that this tab has withdrawn goes back into the box, if it is empty; else it stays in sight until the next reload. */
function takeBack(conversation, turn) {
  if (!state.wantsBack.delete(turn) || conversation !== state.conversation) return;
  if (turn.user && composer.giveBack(turn.user.text)) conversation.remove(turn);
}

async function rename() {
  const title = await askForText("Rename the session", "Title", state.conversation.session.title ?? "");
  if (title === null) return;
  const session = await attempt("PATCH", "", { title: title || null });
  if (session) changed(session);
}

async function end() {
  const isSure = await askToConfirm({
    title: "End this session?",
    text: "It stays readable, but takes no more messages. A running answer is finished first.",
    confirm: "End session",
  });
  const session = isSure ? await attempt("POST", "/end") : null;
  if (session) changed(session);
}

async function terminate() {
  const { conversation } = state;
  const isSure = await askToConfirm({
    title: "Delete this session?",
    text: `“${sessionTitle(conversation.session)}” is stopped and erased, with its messages. This cannot be undone.`,
    confirm: "Delete",
    isDanger: true,
  });
  if (!isSure || !(await attempt("DELETE", ""))) return;
  forget(conversation);
  say("Session deleted");
  go(conversation.agent);
}

/** It was deleted, here or elsewhere. */
function forget(conversation) {
  if (conversation.agent === state.agent) sidebar.remove(conversation.sessionId);
  others.postMessage(conversation.agent);
}

async function loadOlder() {
  const { conversation } = state;
  const page = await attempt("GET", `/messages?before=${conversation.nextBefore}`);
  if (page) conversation.addOlder(page);
}

async function enterName() {
  const name = await askForText("Your name", "Sessions and memories are kept under it; leave it empty for none.", getUser());
  if (name === null) return;
  setUser([...name].slice(0, 256).join("")); // by character: half of one cannot be sent
  location.reload();
}

async function enterKey() {
  const key = await changeKey(getKey() !== "");
  if (key === null) return;
  if (!key) sessionStorage.clear(); // drafts, too
  setKey(key);
  location.reload();
}

/** A request about the open session; its answer, or `null` after a complaint. */
async function attempt(method, path, body) {
  const { agent, sessionId } = state.conversation;
  try {
    return (await call(method, sessionPath(agent, sessionId) + path, body)) ?? {};
  } catch (error) {
    complain(error);
    return null;
  }
}

function changed(session) {
  state.conversation.setSession(session);
  sidebar.put(session);
  others.postMessage(state.agent);
}

// -- what is shown ----------------------------------------------------------------------------------

const CLOSED = {
  ended: "This session has ended. It stays readable.",
  ending: "This session ends with the running answer.",
  expired: "This session has expired. It stays readable.",
  session_expired: "This session has expired.",
  session_terminated: "This session was deleted. Nothing of it is kept.",
  session_not_found: "There is no such session.",
};

function update() {
  const { conversation } = state;
  const agent = knownAgent();
  topbar.update(conversation, agent?.name);
  composer.update({
    isBusy: Boolean(conversation?.openTurn),
    isRunning: Boolean(conversation?.running),
    queued: conversation?.queued.length ?? 0,
    todos: conversation?.todos ?? [],
    closed: agent ? (CLOSED[conversation?.status] ?? "") : `There is no agent “${state.agent}” on this server.`,
  });
  showLink();
}

let ticking = 0;
let complaint = "";

function showLink() {
  const { link } = state;
  clearTimeout(ticking);
  let words = complaint;
  if (link.state === "lost") {
    const seconds = Math.max(Math.ceil((link.retryAt - Date.now()) / 1000), 0);
    const problem = navigator.onLine ? "The server cannot be reached." : "You are offline.";
    words = `${problem} ${seconds > 0 ? `Trying again in ${seconds} s.` : "Trying again."}`;
    ticking = setTimeout(showLink, 500);
  } else if (link.error && !isGone()) {
    words = link.error.message;
  }
  const notice = element("notice");
  notice.hidden = !words;
  if (notice.textContent !== words) notice.textContent = words;
}

function isGone() {
  return Boolean(state.conversation?.gone);
}

function complain(error) {
  complaint = error instanceof Refused ? error.message : "The server cannot be reached.";
  say(complaint);
  showLink();
  setTimeout(() => { complaint = ""; showLink(); }, 6000);
}

function showSidebar(isOpen) {
  const isDrawer = narrow.matches;
  document.body.classList.toggle("sidebar-open", isOpen && isDrawer);
  element("veil").hidden = !(isOpen && isDrawer);
  element("sidebar").inert = isDrawer && !isOpen;
  element("main").inert = isDrawer && isOpen;
  topbar.menuButton.setAttribute("aria-expanded", String(isOpen && isDrawer));
  if (isOpen && isDrawer) sidebar.newLink.focus();
}

function showInspector(isOpen) {
  const panel = element("inspector");
  if (panel.hidden === !isOpen) return;
  panel.hidden = !isOpen;
  document.body.classList.toggle("inspector-open", isOpen);
  topbar.inspectButton.setAttribute("aria-expanded", String(isOpen));
  if (isOpen) inspector.show(state.conversation);
  else topbar.inspectButton.focus();
}

// -- begin ------------------------------------------------------------------------------------------

onKeyNeeded(async () => {
  const key = await askForKey(getKey() !== "");
  if (key === null) return false;
  setKey(key);
  return true;
});

addEventListener("hashchange", route);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#/']");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // a new tab
  event.preventDefault();
  show(link.getAttribute("href"));
});
narrow.addEventListener("change", () => showSidebar(false));
element("veil").addEventListener("click", () => showSidebar(false));
others.onmessage = ({ data }) => data === state.agent && sidebar.refresh().catch(() => {});
addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.repeat || event.defaultPrevented || document.querySelector("dialog[open]")) return;
  if (document.body.classList.contains("sidebar-open")) {
    showSidebar(false);
    topbar.menuButton.focus();
  } else if (state.conversation?.isBusy) {
    if (Date.now() - stoppedAt < TWICE_MS) stopAll();
    else stop();
  } else if (!element("inspector").hidden) {
    showInspector(false);
  }
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && state.agent) sidebar.refresh().catch(() => {});
});

async function begin() {
  try {
    state.agents = (await call("GET", "agents")).agents;
  } catch (error) {
    complain(error);
    element("messages").append(h("p.problem", {}, error.message, h("button.button", { type: "button", onclick: () => location.reload() }, "Try again")));
    return;
  }
  sidebar.setAgents(state.agents);
  route();
}

startRendering();
showSidebar(false);
begin();

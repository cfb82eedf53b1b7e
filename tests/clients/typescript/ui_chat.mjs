/**
 * A page with `useChat`, without the page: node ui_chat.mjs BASE_URL. Prints one JSON object, a key for each scene.
 */

import {
  AbstractChat,
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
  lastAssistantMessageIsCompleteWithToolCalls,
} from "ai";

const base = process.argv[2];

class State {
  status = "ready";
  error = undefined;
  constructor(messages) {
    this.messages = messages;
  }
  pushMessage = (message) => (this.messages = [...this.messages, message]);
  popMessage = () => (this.messages = this.messages.slice(0, -1));
  replaceMessage = (index, message) => {
    this.messages = this.messages.map((one, place) => (place === index ? structuredClone(message) : one));
  };
  snapshot = (thing) => structuredClone(thing);
}

class Chat extends AbstractChat {
  constructor(agent, { messages = [], ...init } = {}) {
    super({
      transport: new DefaultChatTransport({ api: `${base}/agents/${agent}/ui` }),
      sendAutomaticallyWhen: (all) =>
        lastAssistantMessageIsCompleteWithApprovalResponses(all) || lastAssistantMessageIsCompleteWithToolCalls(all),
      ...init,
      state: new State(messages),
    });
  }
}

async function until(fact) {
  while (!fact()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const parts = (chat) => chat.lastMessage?.parts ?? [];
const text = (chat) => parts(chat).filter((part) => part.type === "text").map((part) => part.text);
const tool = (chat, state) => parts(chat).find((part) => part.type === "dynamic-tool" && part.state === state);
const shown = (chat) =>
  parts(chat).map((part) => (part.type === "dynamic-tool" ? `${part.toolName} ${part.state}` : (part.text ?? part.type)));

const scenes = {
  async approval() {
    const chat = new Chat("coder", { id: "approval" });
    await chat.sendMessage({ text: "Write a hello world program" });
    const wrote = shown(chat);
    await chat.sendMessage({ text: "Delete the program" });
    const asked = shown(chat);
    const before = chat.messages.length;
    await chat.addToolApprovalResponse({ id: tool(chat, "approval-requested").approval.id, approved: true });
    await until(() => tool(chat, "output-available") && chat.status === "ready");
    await chat.sendMessage({ text: "Write a hello world program" });
    await chat.sendMessage({ text: "Delete the program" });
    const id = tool(chat, "approval-requested").approval.id;
    await chat.addToolApprovalResponse({ id, approved: false, reason: "I need it" });
    await until(() => tool(chat, "output-denied") && chat.status === "ready");
    return { wrote, asked, added: chat.messages.length - before, first: shownOf(chat, 3), second: shown(chat) };
  },

  async question() {
    const chat = new Chat("coder", {
      onToolCall({ toolCall }) {
        chat.addToolOutput({ toolCallId: toolCall.toolCallId, tool: toolCall.toolName, output: "tabs" });
      },
    });
    await chat.sendMessage({ text: "Ask me something" });
    await until(() => text(chat).length === 2 && chat.status === "ready");
    return { parts: shown(chat) };
  },

  async reload() {
    const first = new Chat("assistant", { id: "reload" });
    const said = first.sendMessage({ text: "Count" });
    await until(() => text(first).join("").length > 20);
    const again = new Chat("assistant", { id: "reload", messages: structuredClone(first.messages) });
    await again.resumeStream();
    await said;
    const idle = new Chat("assistant", { id: "reload" });
    await idle.resumeStream();
    const fresh = new Chat("assistant", { id: "never-seen" });
    await fresh.resumeStream();
    return {
      first: text(first),
      again: text(again),
      messages: again.messages.length,
      thinking: parts(again).find((part) => part.type === "reasoning")?.text,
      idle: [idle.status, idle.messages.length],
      fresh: [fresh.status, fresh.messages.length],
    };
  },

  async stop() {
    const chat = new Chat("hasty", { id: "stop" });
    const said = chat.sendMessage({ text: "Count" });
    await until(() => text(chat).join("").length > 10);
    await chat.stop();
    await said;
    return { status: chat.status };
  },

  async cancel() {
    let last;
    const chat = new Chat("assistant", { id: "cancel", onFinish: (event) => (last = event) });
    const said = chat.sendMessage({ text: "Count" });
    await until(() => text(chat).join("").length > 10);
    await fetch(`${base}/agents/assistant/sessions/cancel/cancel`, { method: "POST" });
    await said;
    return { status: chat.status, is_error: last.isError, length: text(chat).join("").length };
  },

  async failure() {
    const chat = new Chat("broken");
    await chat.sendMessage({ text: "Hello" });
    return { status: chat.status, error: chat.error.message };
  },

  async regenerate() {
    const chat = new Chat("coder", { id: "regenerate" });
    await chat.sendMessage({ text: "Hello" });
    const first = chat.lastMessage.id;
    await chat.regenerate();
    return { messages: chat.messages.length, is_new: chat.lastMessage.id !== first, status: chat.status };
  },
};

function shownOf(chat, index) {
  return chat.messages[index].parts.map((part) =>
    part.type === "dynamic-tool" ? `${part.toolName} ${part.state}` : (part.text ?? part.type),
  );
}

const found = await Promise.all(Object.entries(scenes).map(async ([name, play]) => [name, await play()]));
console.log(JSON.stringify(Object.fromEntries(found)));

/** A front end on `HttpAgent` of AG-UI: node agui.mjs BASE_URL. Prints one JSON object, a key for each scene. */

import { HttpAgent, buildResumeArray } from "@ag-ui/client";

const base = process.argv[2];
let made = 0;

class Talk {
  constructor(agent, threadId, options = {}) {
    this.events = [];
    this.agent = new HttpAgent({ url: `${base}/agents/${agent}/agui`, threadId, ...options });
    this.agent.subscribe({ onEvent: ({ event }) => void this.events.push(event) });
  }

  /** Says it, and returns what the run ended with. */
  async say(content, parameters = {}) {
    this.agent.addMessage({ id: `said-${made++}`, role: "user", content });
    return this.run(parameters);
  }

  async run(parameters = {}) {
    this.events.length = 0;
    let error = null;
    await this.agent.runAgent(parameters).catch((raised) => (error = raised));
    const last = this.events.at(-1);
    return { last: last?.type, outcome: last?.outcome?.type ?? null, code: last?.code ?? null, error: error?.message ?? null };
  }

  get kinds() {
    return this.events.map((event) => event.type).filter((type, place, all) => type !== all[place - 1]);
  }

  get shown() {
    return this.agent.messages.map((message) => [message.role, message.content || null, message.toolCalls?.length ?? 0]);
  }
}

async function until(fact) {
  while (!fact()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const text = (talk) => talk.agent.messages.filter((one) => one.role === "assistant").at(-1)?.content ?? "";

const scenes = {
  async acts() {
    const talk = new Talk("coder", "agui-acts");
    const wrote = await talk.say("Write a hello world program");
    const kinds = talk.kinds;
    const first = talk.shown;
    const asked = await talk.say("Delete the program");
    const interrupts = talk.agent.pendingInterrupts.map(({ reason, message, responseSchema }) => {
      return { reason, message, properties: Object.keys(responseSchema.properties) };
    });
    const snapshot = talk.events.some((event) => event.type === "MESSAGES_SNAPSHOT");
    const refused = await new Talk("coder", "agui-acts").say("Something else");
    const open = talk.agent.pendingInterrupts;
    const responses = Object.fromEntries(
      open.map(({ id }) => [id, { status: "resolved", payload: { approved: true, editedArgs: { command: "ls" } } }]),
    );
    const resumed = await talk.run({ resume: buildResumeArray(open, responses) });
    return { wrote, kinds, first, asked, interrupts, snapshot, refused, resumed, shown: talk.shown.slice(-3) };
  },

  async question() {
    const talk = new Talk("coder", "agui-question");
    await talk.say("Ask me something");
    const [open] = talk.agent.pendingInterrupts;
    const resumed = await talk.run({ resume: [{ interruptId: open.id, status: "resolved", payload: "tabs" }] });
    return { reason: open.reason, message: open.message, schema: open.responseSchema, resumed, text: text(talk) };
  },

  async again() {
    const first = new Talk("assistant", "agui-again");
    const said = first.say("Count", { runId: "run-again" });
    await until(() => text(first).length > 20);
    const again = new Talk("assistant", "agui-again");
    await again.say("Count", { runId: "run-again" });
    await said;
    return { first: text(first), again: text(again), kinds: again.kinds.slice(0, 6), shown: again.shown.length };
  },

  async stop() {
    const talk = new Talk("hasty", "agui-stop");
    const said = talk.say("Count");
    await until(() => text(talk).length > 10);
    talk.agent.abortRun();
    await said;
    return { length: text(talk).length };
  },

  async cancel() {
    const talk = new Talk("assistant", "agui-cancel");
    const said = talk.say("Count");
    await until(() => text(talk).length > 10);
    await fetch(`${base}/agents/assistant/sessions/agui-cancel/cancel`, { method: "POST" });
    return await said;
  },

  async failure() {
    return await new Talk("broken", "agui-failure").say("Hello");
  },
};

const found = await Promise.all(Object.entries(scenes).map(async ([name, play]) => [name, await play()]));
console.log(JSON.stringify(Object.fromEntries(found)));
process.exit(0);

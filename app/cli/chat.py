"""hector chat: a conversation in the terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from app.cli.agents import choose_agent, choose_session
from app.cli.chat_acts import WORDS, ActCommands
from app.cli.connection import Target, connect
from app.cli.decide import LATER, Decider
from app.cli.failures import CommandFailed, ExitCode, exit_code
from app.cli.prompt import QUIT_HINT, Editor, Interrupted, Lines, Prompt, history_file
from app.cli.run import Signals
from app.cli.screen import make_output
from app.cli.show import Abandoned, Settle, Show, shortfall_of, stop_quietly
from app.cli.tables import SESSION_HEADINGS, print_rows, session_row, session_table
from app.cli.type_ahead import TypeAhead, no_echo
from app.observability.neutral import clean
from hector_client import Answer, Client, HectorError, Session, Unreachable
from hector_client.errors import SessionError

RECALLED = 4
"""Messages shown when a session is continued."""
HISTORY = 20
LISTED = 20

HELP = """\
Enter sends. Alt-Enter, or a backslash at the end of a line, begins a new line;
pasted text keeps its lines. Up and Down go through what was typed before.
Ctrl-C stops the answer; once more drops the messages that wait in this
session. On an empty line Ctrl-C twice, or Ctrl-D, quits.

/new [ID]       begin another session
/sessions [N]   list this agent's sessions; with a number or an id, go on there
/history [N]    show the last N messages of this session
/calls          list the calls of tools in this session, and what waits
/approve [CALL] [--edit JSON]     let a call run
/refuse [CALL] [REASON]           refuse it
/answer [CALL] TEXT               answer a tool's question
/resolve [CALL] happened|failed|again   say what became of a call
/steer TEXT     send a message into the running answer; also typed, unseen,
                while it is written
/end            close this session; it stays readable
/terminate      erase this session
/help           this page
/quit, exit     leave; the session is kept

Two slashes send a message that begins with one: //etc is a folder."""


class Quit(Exception):
    """The user wants to leave."""


async def chat(
    target: Target, agent: str | None, session_id: str | None, signals: Signals, *, continues: bool
) -> ExitCode:
    """`continues`: the last session, which `session_id` does not name then."""
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    async with connect(target) as client:
        prompt: Prompt = (
            Editor(history=history_file(os.environ), commands=list(Chat.commands)) if is_terminal else Lines()
        )
        about = await choose_agent(client, agent)
        session_id = await choose_session(client.agent(str(about["agent"])), session_id, continues=continues)
        return await Chat(client, about, prompt, signals, is_terminal=is_terminal).run(session_id)


def _acting(word: str) -> Callable[[Chat, str], Awaitable[None]]:
    """A command about calls of tools (chat_acts.py)."""

    async def act(chat: Chat, rest: str) -> None:
        await chat._act(word, rest)

    return act


class Chat:
    """One session at a time; it is created when the first message is sent."""

    def __init__(
        self, client: Client, agent: dict[str, Any], prompt: Prompt, signals: Signals, *, is_terminal: bool
    ) -> None:
        self._place = client.place
        self._about = agent
        self._agent = client.agent(str(agent["agent"]))
        self._prompt = prompt
        self._signals = signals
        self._is_terminal = is_terminal
        self._console = Console(highlight=False, stderr=not is_terminal)
        self._session: Session | None = None
        self._listed: list[str] = []
        self._draft = ""
        self._typed: list[str] = []
        """Lines that were typed while an answer was written."""
        self._left: Answer | None = None
        """An answer whose turn waits for somebody."""
        self._steering: set[asyncio.Task[None]] = set()
        self._has_queue = False
        """Whether an answer was stopped and others of the session go on."""
        self._code = ExitCode.OK

    async def run(self, session_id: str | None) -> ExitCode:
        """Run until the user leaves. Returns 0 on a terminal; in a pipe, the code of the last failure."""
        self._greet()
        if session_id is not None:
            await self._take_up(session_id, create=True)
        interrupts = 0
        while True:
            try:
                line = await self._read()
            except EOFError:
                break
            except Interrupted:
                if self._has_queue:
                    await self._drop_queue()
                    continue
                interrupts += 1
                if interrupts == 2:
                    break
                self._note(QUIT_HINT)
                continue
            interrupts, self._draft, self._has_queue = 0, "", False
            try:
                await self._obey(line)
            except Quit:
                break
            except (CommandFailed, HectorError) as failure:
                self._complain(failure)
        if self._is_terminal and self._session is not None:
            self._note(f"Go on with: hector chat {self._agent.name} --session {self._session.session_id}")
        return ExitCode.OK if self._is_terminal else self._code

    async def _read(self) -> str:
        if not self._typed:
            return await self._prompt.read(self._draft)
        line = self._typed.pop(0)
        self._console.print(Text("> " + clean(line), style="bold"))
        return line

    # -- saying ---------------------------------------------------------------------------------

    async def _obey(self, line: str) -> None:
        line = line.strip()
        if not line:
            return
        if self._is_terminal and line.lower() in ("exit", "quit"):
            raise Quit
        if line.startswith("/") and not line.startswith("//"):
            word, _, rest = line.partition(" ")
            act = self.commands.get(word)
            if act is None:
                self._note(f"There is no {word}; /help lists what there is.")
            else:
                await act(self, rest.strip())
            return
        await self._say(line.removeprefix("/") if line.startswith("//") else line)

    async def _say(self, message: str) -> None:
        try:
            if self._session is None:
                self._session = await self._agent.create_session()
                self._note(f"session {self._session.session_id}")
            answer = self._session.ask(message)
            if not await self._show(answer):
                self._draft = message
        except Unreachable:
            self._draft = message  # not known to be sent: offered again
            raise
        except SessionError:
            self._leave_session()
            raise

    async def _show(self, answer: Answer) -> bool:
        """Show an answer to its end. False: its turn never began, the message is to be written again or not at all."""
        self._gap()
        output = make_output(hint="Ctrl-C stops")
        dropped = 0

        async def stop_all() -> None:
            nonlocal dropped
            dropped = await self._cancel_all()

        self._left = None
        typing = TypeAhead(0, self._steer_now)
        settle = self._settling(typing) if self._is_terminal and self._session is not None else None
        show = Show(answer, output, self._signals, stop_all=stop_all, settle=settle)
        try:
            with no_echo(self._is_terminal), self._reading(typing):
                await show.run()
        except Abandoned:
            if answer.turn_id is None:
                self._note("Not sent; the message is back in the line.")
            elif dropped:
                self._tell_dropped(dropped)
            else:
                self._note("No longer waiting; the server may still complete the answer. /history shows it.")
            return answer.turn_id is not None
        except BrokenPipeError:
            await stop_quietly(answer)
            raise
        self._gap()
        if show.was_left:
            self._left = answer
            self._note(LATER)
            return True
        if show.was_stopped and answer.finished is not None and answer.finished.status == "cancelled":
            self._note("stopped" if show.has_started else "withdrawn; the message is back in the line")
            if dropped:
                self._tell_dropped(dropped)
            else:
                await self._tell_queue()
            return show.has_started
        self._tell_end(answer)
        return True

    # -- while an answer is written -------------------------------------------------------------

    def _settling(self, typing: TypeAhead) -> Settle:
        assert self._session is not None
        decider = Decider(self._session, self._prompt, self._console)

        async def settle(turn_id: str, call_id: str | None) -> bool:
            typing.stop()
            try:
                return await decider.settle(turn_id, call_id)
            finally:
                typing.start()

        return settle

    @contextlib.contextmanager
    def _reading(self, typing: TypeAhead) -> Iterator[None]:
        """Read what is typed; what does not steer the answer is left for afterwards."""
        if not self._is_terminal:
            yield
            return
        typing.start()
        try:
            yield
        finally:
            typing.stop()
            self._typed += typing.lines

    def _steer_now(self, message: str) -> None:
        if self._session is None or not message:
            return
        task = asyncio.create_task(self._send_steering(self._session, message), name="steer")
        self._steering.add(task)
        task.add_done_callback(self._steering.discard)

    async def _send_steering(self, session: Session, message: str) -> None:
        try:
            await session.steer(message)
        except HectorError:
            self._typed.append(message)  # it comes as a message of its own

    def _tell_end(self, answer: Answer) -> None:
        finished, failure = answer.finished, answer.failure()
        if (shortfall := shortfall_of(finished)) is not None:
            self._note(shortfall)
        if finished is None or failure is None:
            return
        if isinstance(failure, SessionError):
            self._leave_session()
        self._code = ExitCode.TURN_FAILED
        self._console.print(Text(clean(failure.message), style="red" if finished.status == "failed" else "yellow"))

    # -- what waits in the session, of this program or another ----------------------------------

    async def _tell_queue(self) -> None:
        """After a stop: say whether other messages of the session are answered now, and how to stop that."""
        with contextlib.suppress(HectorError):
            if self._session is not None and (count := _count_open(await self._session.info())):
                self._has_queue = self._is_terminal
                hint = " Ctrl-C drops them." if self._is_terminal else ""
                self._note(f"{_messages(count)} in this session {_verb(count, 'goes', 'go')} on.{hint}")

    async def _cancel_all(self) -> int:
        """Cancel the running turn and all queued ones; how many they were."""
        if self._session is None:
            return 0
        count = _count_open(await self._session.info())
        await self._session.cancel(everything=True)
        return count

    async def _drop_queue(self) -> None:
        self._has_queue = False
        try:
            self._tell_dropped(await self._cancel_all())
        except HectorError as failure:
            self._complain(failure)

    def _tell_dropped(self, count: int) -> None:
        self._note(f"Stopped all: {_messages(count)} of this session {_verb(count, 'is', 'are')} no longer answered.")

    # -- sessions -------------------------------------------------------------------------------

    async def _take_up(self, session_id: str, *, create: bool) -> None:
        """Continue a session and show its last messages; with `create` an unknown id becomes a new session."""
        session = await self._agent.create_session(session_id) if create else self._agent.session(session_id)
        about = session.about or await session.info()
        if about["status"] != "active" or about.get("ending"):
            status = "ending" if about.get("ending") else about["status"]
            raise CommandFailed(
                f"Session {session_id} is {status} and takes no more messages;"
                f" hector info {self._agent.name} {session_id} shows it.",
                code=ExitCode.REFUSED,
                reason=f"session_{status}",
            )
        self._session = session
        if session.is_new:
            self._note(f"There was no session {session_id}; it is new.")
            return
        count = about["message_count"]
        self._note(f"session {session_id}, {count} message{'' if count == 1 else 's'}")
        if self._is_terminal:  # in a pipe only the answers to its own messages are printed
            turn = about.get("turn")
            await self._print_messages(session, RECALLED, without=turn)
            if turn is not None:
                await self._show(session.join(turn["turn_id"]))

    def _leave_session(self) -> None:
        self._session = None
        self._note("The next message begins a new session.")

    def _current(self) -> Session | None:
        if self._session is None:
            self._note("There is no session yet; the first message begins one.")
        return self._session

    async def _print_messages(self, session: Session, count: int, *, without: dict[str, Any] | None = None) -> None:
        """Print the last messages, but not the answer of the turn `without`, which is shown live."""
        live = without["message_id"] if without is not None else None
        for message in await session.get_messages(limit=count):
            if message["message_id"] == live:
                continue
            if message["role"] == "user":
                self._console.print(Text("> " + clean(message["content"]), style="bold"))
                self._gap()
                continue
            output = make_output() if self._is_terminal else None
            if output is None:
                print(message["content"])
            else:
                output.text(message["content"])
                output.close()
            if message["status"] not in ("completed", "running"):
                self._note(message["status"])
            self._gap()

    # -- commands -------------------------------------------------------------------------------

    async def _new(self, rest: str) -> None:
        if rest:
            await self._take_up(rest, create=True)
        else:
            self._leave_session()

    async def _sessions(self, rest: str) -> None:
        if rest:
            place = int(rest) if rest.isdigit() else 0
            chosen = self._listed[place - 1] if 0 < place <= len(self._listed) else rest
            await self._take_up(chosen, create=False)
            return
        found, _ = await self._agent.sessions(limit=LISTED, order="activity")
        self._listed = [str(session["session_id"]) for session in found]
        if not found:
            self._note("There are no sessions yet.")
            return
        if not self._is_terminal:
            print_rows(SESSION_HEADINGS, [session_row(session) for session in found])
            return
        current = self._session.session_id if self._session is not None else None
        self._console.print(session_table(found, current=current, room=self._console.width))
        self._note("/sessions N goes on with one of them.")

    async def _history(self, rest: str) -> None:
        if (session := self._current()) is not None:
            await self._print_messages(session, max(int(rest), 1) if rest.isdigit() else HISTORY)

    async def _end(self, rest: str) -> None:
        if (session := self._current()) is not None:
            await session.end()
            self._note(f"Session {session.session_id} is ended; it stays readable.")
            self._leave_session()

    async def _terminate(self, rest: str) -> None:
        session = self._current()
        if session is None:
            return
        if self._is_terminal:
            with contextlib.suppress(EOFError, Interrupted):
                question = "Erase this session? It cannot be undone. yes or no:"
                if (await self._prompt.ask(question)).strip().lower() == "yes":
                    await self._erase(session)
                    return
            self._note("Nothing was erased.")
        else:
            await self._erase(session)

    async def _erase(self, session: Session) -> None:
        await session.terminate()
        self._note(f"Session {session.session_id} is erased.")
        self._leave_session()

    async def _act(self, word: str, rest: str) -> None:
        if (session := self._current()) is None:
            return
        is_decided = await ActCommands(session, self._note).run(word, rest)
        if is_decided and self._left is not None:
            await self._show(self._left)

    async def _steer(self, rest: str) -> None:
        session = self._current()
        if session is None or not rest:
            return
        if (await session.info())["turn"] is None:
            await self._say(rest)
            return
        await session.steer(rest)
        self._note("The message enters the answer at its next step.")

    async def _help(self, rest: str) -> None:
        self._console.print(HELP, markup=False)

    async def _quit(self, rest: str) -> None:
        raise Quit

    commands: ClassVar[dict[str, Callable[[Chat, str], Awaitable[None]]]] = {
        "/new": _new,
        "/sessions": _sessions,
        "/history": _history,
        **{word: _acting(word) for word in WORDS},
        "/steer": _steer,
        "/end": _end,
        "/terminate": _terminate,
        "/help": _help,
        "/quit": _quit,
        "/exit": _quit,
    }

    # -- notes ----------------------------------------------------------------------------------

    def _greet(self) -> None:
        llm = self._about.get("llm") or {}
        name = clean(str(self._about.get("name") or self._agent.name))
        self._console.print(
            f"[bold]{escape(name)}[/bold] [dim]on {escape(str(llm.get('model')))}, {escape(self._place)}."
            " /help shows what you can do.[/dim]"
        )

    def _gap(self) -> None:
        if self._is_terminal:
            self._console.print()

    def _note(self, words: str) -> None:
        self._console.print(Text(clean(words), style="dim"))

    def _complain(self, failure: CommandFailed | HectorError) -> None:
        self._code = exit_code(failure)
        self._console.print(Text(clean(failure.message), style="red"))


def _count_open(session: dict[str, Any]) -> int:
    return int(session.get("queued", 0)) + (session.get("turn") is not None)


def _messages(count: int) -> str:
    return f"{count} {_verb(count, 'message', 'messages')}"


def _verb(count: int, one: str, many: str) -> str:
    return one if count == 1 else many

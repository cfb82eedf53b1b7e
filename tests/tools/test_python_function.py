"""Functions as tools: found, described to the model, run, watched, ended."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.domain.act import ToolClass
from app.tools.base import (
    Later,
    Probing,
    Question,
    Tool,
    ToolContext,
    ToolFailed,
    ToolResult,
    ToolStopped,
    ToolUnknown,
)
from app.tools.python_function import PythonFunction, ToolLoadError, load
from app.tools.threads import Threads

numbers = itertools.count()


class Folder:
    """A folder with modules; each gets a name of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, source: str, name: str | None = None) -> str:
        name = name or f"module_of_test_{next(numbers)}"
        file = self.path.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source))
        return name

    def load(self, source: str, function: str = "f", **more: Any) -> Tool:
        return load(f"{self.write(source)}:{function}", self.path, **({"name": "f"} | more))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    path, modules = list(sys.path), set(sys.modules)
    yield Folder(tmp_path)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("module_of_test_"):
            del sys.modules[name]


def context(**more: Any) -> ToolContext:
    fields: dict[str, Any] = {"call_id": "c", "session_id": "s", "turn_id": "t", "agent": "a", "principal": "p"}
    return ToolContext(**(fields | {"user_id": "u", "idempotency_key": "key_1"} | more))


async def run(tool: Tool, ctx: ToolContext | None = None, **arguments: Any) -> Any:
    async with asyncio.timeout(20):
        return await tool.run(arguments, ctx or context())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


# ---- what the model is told ----------------------------------------------------------------------------------------


def test_hints_and_docstring_describe_the_tool(folder: Folder) -> None:
    tool = folder.load(
        '''
        from __future__ import annotations
        from typing import Annotated, Literal
        from pydantic import BaseModel, Field

        class Line(BaseModel):
            article: str
            count: int = 1

        def f(customer: str, lines: list[Line], currency: Literal["eur", "usd"] = "eur",
              limit: Annotated[int, Field(ge=1, description="At most so many.")] = 5, ctx=None) -> str:
            """Order articles
            for a customer.

            More that no model has to know.

            Args:
                customer (str): Who pays. May go on
                    in a second line.
                lines: What is ordered.
                limit: Not this one.

            Returns:
                str: A number.
            """
        '''
    )
    schema = tool.spec.parameters

    assert tool.spec.description == "Order articles for a customer."
    assert tool.spec.source == "python"
    assert list(schema["properties"]) == ["customer", "lines", "currency", "limit"]
    assert schema["required"] == ["customer", "lines"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["customer"] == {
        "type": "string",
        "description": "Who pays. May go on in a second line.",
    }
    assert schema["properties"]["lines"]["description"] == "What is ordered."
    assert schema["properties"]["currency"] == {"enum": ["eur", "usd"], "type": "string", "default": "eur"}
    assert schema["properties"]["limit"] == {
        "type": "integer",
        "minimum": 1,
        "description": "At most so many.",
        "default": 5,
    }
    assert "title" not in str(schema)


@pytest.mark.parametrize(
    "docstring",
    [
        """
        Add.

        Parameters
        ----------
        a : int
            The first,
            of two.
        b, c : int, optional
            The others.

        Returns
        -------
        int
        """,
        """Add.

        :param int a: The first,
            of two.
        :param b: The others.
        :param c: The others.
        :returns: The sum.
        """,
        """Add.

        Arguments:
          a: The first,
            of two.
          b: The others.
          c: The others.
        Raises:
          ValueError: never.
        """,
    ],
)
def test_each_style_of_docstring_is_read(folder: Folder, docstring: str) -> None:
    tool = folder.load(f"def f(a: int, b: int = 1, c: int = 2):\n    {docstring!r}")
    told = {name: part.get("description") for name, part in tool.spec.parameters["properties"].items()}

    assert tool.spec.description == "Add."
    assert told == {"a": "The first, of two.", "b": "The others.", "c": "The others."}


def test_a_function_without_docstring_and_hints_is_described_by_its_name(folder: Folder) -> None:
    tool = folder.load("def f(a, b=None): return a", name="copy")
    assert tool.spec.description == "Call copy."
    assert tool.spec.parameters["properties"] == {"a": {}, "b": {"default": None}}


def test_names_that_pydantic_keeps_for_itself_are_ordinary_arguments(folder: Folder) -> None:
    tool = folder.load("def f(schema: str, json: int, model_x: str = '', _y: int = 0, title: str = ''): return json")
    assert list(tool.spec.parameters["properties"]) == ["schema", "json", "model_x", "_y", "title"]


@pytest.mark.parametrize(
    "hint", ["ctx", "ctx: 'ToolContext'", "about: ToolContext", "about: ToolContext | None = None"]
)
async def test_the_context_is_given_and_not_told(folder: Folder, hint: str) -> None:
    name = hint.partition(":")[0]
    tool = folder.load(f"from app.tools.base import ToolContext\ndef f(a: int, {hint}): return {name}.idempotency_key")
    assert list(tool.spec.parameters["properties"]) == ["a"]
    assert await run(tool, a=1) == ToolResult("key_1")


# ---- what goes in and out ------------------------------------------------------------------------------------------


async def test_arguments_become_what_the_hints_say(folder: Folder) -> None:
    tool = folder.load(
        """
        import datetime, pathlib, enum, dataclasses
        class Colour(enum.Enum):
            RED = "red"
        @dataclasses.dataclass
        class Point:
            x: int
        def f(day: datetime.date, path: pathlib.Path, colour: Colour, point: Point, /, *, many: set[int]):
            return [day.year, path.suffix, colour.name, point.x, sorted(many)]
        """
    )
    outcome = await run(tool, day="2026-05-04", path="a.py", colour="red", point={"x": 5}, many=[2, 1, 2])
    assert outcome.data == [2026, ".py", "RED", 5, [1, 2]]


async def test_values_that_do_not_fit_are_told_to_the_model(folder: Folder) -> None:
    tool = folder.load("import datetime\ndef f(day: datetime.date, n: int): return 'x'")
    with pytest.raises(ToolFailed, match=r"day: Input should be a valid date.*; n: Input should be a valid integer"):
        await run(tool, day="some day", n="five")


@pytest.mark.parametrize(
    ("value", "text", "data"),
    [
        ("'a\\nb'", "a\nb", None),
        ("{'a': [1, None, True]}", '{"a":[1,null,true]}', {"a": [1, None, True]}),
        ("None", "null", None),
        ("datetime.date(2026, 5, 4)", '"2026-05-04"', "2026-05-04"),
        ("Point(5)", '{"x":5}', {"x": 5}),
        ("decimal.Decimal('1.10')", '"1.10"', "1.10"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_text_is_the_result_and_other_values_are_its_json(
    folder: Folder, kind: str, value: str, text: str, data: Any
) -> None:
    point = "@dataclasses.dataclass\nclass Point:\n    x: int\n"
    tool = folder.load(f"import dataclasses, datetime, decimal\n{point}\n{kind} f():\n    return {value}")
    assert await run(tool) == ToolResult(text, data)


async def test_what_has_no_json_is_told_all_the_same(folder: Folder) -> None:
    assert (await run(folder.load("def f(): return object()"))).text.startswith("<object object at")


async def test_a_result_or_a_question_of_its_own_is_passed_on(folder: Folder) -> None:
    tool = folder.load(
        """
        from app.tools.base import Question, ToolResult
        def f(ctx):
            if ctx.answer is None:
                return Question("Sure?", ("yes", "no"))
            return ToolResult(f"You said {ctx.answer}.", is_error=True)
        """
    )
    assert await run(tool) == Question("Sure?", ("yes", "no"))
    assert await run(tool, context(answer="no")) == ToolResult("You said no.", is_error=True)


async def test_the_outcome_of_a_deferred_function_comes_later(folder: Folder) -> None:
    tool = folder.load("def f(): return 'Ticket 5'", deferred=True)
    assert await run(tool) == Later("Ticket 5")
    tool = folder.load("def f(): pass", deferred=True)
    assert await run(tool) == Later()
    tool = folder.load("from app.tools.base import Later\ndef f(): return Later('by mail', 60)")
    assert await run(tool) == Later("by mail", 60)


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_an_exception_is_told_without_its_traceback_and_logged_with_it(
    folder: Folder, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    tool = folder.load(f"{kind} f():\n    raise KeyError('no such customer')")
    with pytest.raises(ToolFailed) as caught:
        await run(tool)
    assert str(caught.value) == "KeyError: 'no such customer'"
    assert "in f" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("error", ["ToolFailed", "ToolUnknown"])
async def test_an_error_of_tools_is_passed_on(folder: Folder, kind: str, error: str) -> None:
    tool = folder.load(f"from app.tools.base import *\n{kind} f():\n    raise {error}('so it is')")
    with pytest.raises((ToolFailed, ToolUnknown), match=r"^so it is$") as caught:
        await run(tool)
    assert type(caught.value).__name__ == error


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("raised", ["SystemExit(3)", "KeyboardInterrupt()", "StopIteration()", "GeneratorExit()"])
async def test_an_exit_ends_the_call_and_no_more(folder: Folder, kind: str, raised: str) -> None:
    with pytest.raises(ToolFailed):
        await run(folder.load(f"{kind} f():\n    raise {raised}"))


async def test_a_function_that_cancels_itself_failed(folder: Folder) -> None:
    with pytest.raises(ToolFailed, match="CancelledError"):
        await run(folder.load("import asyncio\nasync def f():\n    raise asyncio.CancelledError"))


async def test_partials_methods_and_wrapped_functions_are_called(folder: Folder) -> None:
    source = """
        import functools
        async def g(a: int, b: int): return a + b
        class Shop:
            def buy(self, n: int): return n
            async def __call__(self, n: int): return -n
        def twice(function):
            @functools.wraps(function)
            def inner(*args, **kwargs): return function(*args, **kwargs)
            return inner
        @twice
        async def h(n: int): return n
        f, shop = functools.partial(g, b=2), Shop()
        f.__name__ = "f"
        """
    name = folder.write(source)
    calls: dict[str, dict[str, Any]] = {"f": {"a": 1}, "shop.buy": {"n": 3}, "shop": {"n": 3}, "h": {"n": 4}}
    found = {
        function: (await run(load(f"{name}:{function}", folder.path, name="f"), **arguments)).data
        for function, arguments in calls.items()
    }
    assert found == {"f": 3, "shop.buy": 3, "shop": -3, "h": 4}


# ---- while it runs -------------------------------------------------------------------------------------------------


async def test_a_blocking_function_leaves_the_loop_free(folder: Folder) -> None:
    tool = folder.load("def f(ctx): ctx.answer.wait(10); return 'done'")
    event = threading.Event()
    calls = [asyncio.ensure_future(run(tool, context(answer=event))) for _ in range(3)]
    await asyncio.sleep(0.01)
    event.set()
    assert await asyncio.gather(*calls) == [ToolResult("done")] * 3


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_progress_arrives_in_the_loop_and_in_order(folder: Folder, kind: str) -> None:
    tool = folder.load(f"{kind} f(ctx):\n    for n in range(100): ctx.progress(f'{{n}} ', n)\n    return 'done'")
    seen: list[tuple[str, float | None]] = []
    here = threading.get_ident()

    def see(text: str, percent: float | None) -> None:
        assert threading.get_ident() == here
        seen.append((text, percent))

    assert await run(tool, context(on_progress=see)) == ToolResult("done")
    assert "".join(text for text, _ in seen) == "".join(f"{n} " for n in range(100))
    assert seen[-1][1] == 99


async def test_progress_without_end_is_bounded(folder: Folder) -> None:
    source = """
        def f(ctx):
            ctx.answer["begun"].set()
            ctx.answer["go on"].wait(10)
            for n in range(300):
                ctx.progress("x" * 10_000)
            ctx.answer["done"].set()
        """
    events = {name: threading.Event() for name in ("begun", "go on", "done")}
    seen: list[str] = []
    tool, ctx = folder.load(source), context(answer=events, on_progress=lambda text, _: seen.append(text))
    call = asyncio.ensure_future(run(tool, ctx))
    await until(events["begun"].is_set)
    events["go on"].set()
    assert events["done"].wait(10)  # the loop stands still meanwhile
    await call
    assert 0 < sum(map(len, seen)) < 200_000


@pytest.mark.parametrize(
    "source",
    ["async def f(ctx): await ctx.keep({'n': 1})", "import asyncio\ndef f(ctx): asyncio.run(ctx.keep({'n': 1}))"],
)
async def test_what_a_function_keeps_is_stored_before_it_goes_on(folder: Folder, source: str) -> None:
    kept: list[dict[str, Any]] = []

    async def keep(value: dict[str, Any]) -> None:
        kept.append(value)

    await run(folder.load(source), context(on_keep=keep))
    assert kept == [{"n": 1}]


# ---- how it ends ---------------------------------------------------------------------------------------------------

CLEANS_UP = """
    import asyncio
    async def f(ctx):
        ctx.answer["begun"] = True
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ctx.answer["clean"] = True
    """


async def test_an_async_function_is_cancelled_once_and_awaited(folder: Folder) -> None:
    seen: dict[str, bool] = {}
    tool, ctx = folder.load(CLEANS_UP), context(answer=seen)
    call = asyncio.ensure_future(run(tool, ctx))
    await until(lambda: seen.get("begun"))
    ctx.stop.set()
    with pytest.raises(ToolStopped):
        await call
    assert seen["clean"]


async def test_a_function_that_swallows_the_cancel_is_left_to_itself(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    source = """
        import asyncio
        async def f(ctx):
            ctx.answer["begun"] = True
            while not ctx.answer.get("end"):
                try:
                    await asyncio.sleep(0.005)
                except asyncio.CancelledError:
                    pass
        """
    seen: dict[str, bool] = {}
    ctx = context(answer=seen)
    tool = folder.load(source, tool_class=ToolClass.READ, grace_seconds=0.05)
    assert isinstance(tool, PythonFunction)
    call = asyncio.ensure_future(run(tool, ctx))
    await until(lambda: seen.get("begun"))
    ctx.stop.set()
    with pytest.raises(ToolStopped):
        await call
    assert "does not end" in caplog.text
    seen["end"] = True
    await until(lambda: not tool._abandoned)


async def test_a_blocking_function_is_asked_to_end(folder: Folder) -> None:
    source = """
        import time
        def f(ctx):
            ctx.answer["begun"] = True
            while not ctx.is_stopped:
                time.sleep(0.005)
            raise RuntimeError("ended")
        """
    seen: dict[str, bool] = {}
    ctx = context(answer=seen)
    call = asyncio.ensure_future(run(folder.load(source), ctx))
    await until(lambda: seen.get("begun"))
    ctx.stop.set()
    with pytest.raises(ToolStopped):
        await call


HANGS = "import threading\ndef f(ctx): ctx.answer.wait(30); ctx.progress('late')"


@pytest.mark.parametrize(
    ("tool_class", "error"),
    [(ToolClass.READ, ToolFailed), (ToolClass.IDEMPOTENT, ToolFailed), (ToolClass.ONCE, ToolUnknown)],
)
async def test_a_hung_function_is_left_to_itself_and_said_so(
    folder: Folder, tool_class: ToolClass, error: type[Exception]
) -> None:
    seen: list[str] = []
    event = threading.Event()
    tool = folder.load(HANGS, tool_class=tool_class, timeout_seconds=0.05, grace_seconds=0.02)
    with pytest.raises(error, match=r"`f` was not done after 0.05 s; it does not end, and is left to itself"):
        await run(tool, context(answer=event, on_progress=lambda text, _: seen.append(text)))
    event.set()
    assert isinstance(tool, PythonFunction)
    await until(lambda: not tool._abandoned)
    assert seen == []  # nobody hears of it any more


async def test_a_late_async_function_is_ended(folder: Folder) -> None:
    source = "import asyncio\nasync def f(): await asyncio.sleep(60)"
    with pytest.raises(ToolFailed, match="it was ended"):
        await run(folder.load(source, timeout_seconds=0.02, tool_class=ToolClass.READ))
    with pytest.raises(ToolUnknown, match="may have had its effect"):
        await run(folder.load(source, timeout_seconds=0.02))


async def test_hung_calls_hold_their_places_only(folder: Folder) -> None:
    event, threads = threading.Event(), Threads(limit=2)
    tool = folder.load(HANGS, timeout_seconds=0.05, grace_seconds=0.02, threads=threads)
    other = folder.load("def f(): return 'done'")
    for _ in range(2):
        with pytest.raises(ToolUnknown):
            await run(tool, context(answer=event))
    with pytest.raises(ToolFailed, match="too many earlier calls"):
        await run(tool, context(answer=event))
    assert await run(other) == ToolResult("done")
    event.set()
    assert isinstance(tool, PythonFunction)
    await until(lambda: not tool._abandoned)
    assert await run(tool, context(answer=event)) == ToolResult("null")


async def test_a_call_that_is_stopped_before_it_began_does_not_begin(folder: Folder) -> None:
    ctx = context()
    ctx.stop.set()
    with pytest.raises(ToolStopped):
        await run(folder.load("def f(): raise AssertionError"), ctx)


async def test_a_result_counts_although_the_stop_came_meanwhile(folder: Folder) -> None:
    ctx = context()
    tool = folder.load("def f(ctx): ctx.answer(); return 'paid'")
    loop = asyncio.get_running_loop()
    assert await run(
        tool, context(stop=ctx.stop, answer=lambda: loop.call_soon_threadsafe(ctx.stop.set))
    ) == ToolResult("paid")


def test_a_hung_function_holds_up_no_shutdown(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text("import threading\ndef f(): threading.Event().wait()")
    program = """
        import asyncio, pathlib, sys
        from app.tools import python_function
        from tests.tools.test_python_function import context
        folder = pathlib.Path(sys.argv[1])
        tool = python_function.load("hangs:f", folder, name="f", timeout_seconds=0.05, grace_seconds=0.02)
        async def main():
            try:
                await tool.run({}, context())
            except python_function.ToolUnknown as exc:
                print(exc)
        asyncio.run(main())
        print("over")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.splitlines()[-1] == "over", done.stderr
    assert done.returncode == 0


# ---- has it happened? ----------------------------------------------------------------------------------------------


async def test_a_probe_tells_what_came_of_a_call(folder: Folder) -> None:
    source = """
        from app.tools.base import ToolUnknown
        def f(): pass
        def find(key):
            if key == "lost": raise ToolUnknown("The bank does not answer.")
            if key == "bad": raise OSError("no network")
            return {"a": {"paid": True}}.get(key)
        f.probe = find
        """
    tool = folder.load(source)
    assert isinstance(tool, Probing)
    assert await tool.probe("a") == ToolResult('{"paid":true}', {"paid": True})
    assert await tool.probe("b") is None
    with pytest.raises(ToolUnknown, match=r"^The bank does not answer.$"):
        await tool.probe("lost")
    with pytest.raises(ToolUnknown, match="OSError: no network"):
        await tool.probe("bad")


async def test_a_probe_may_be_async_and_has_a_limit(folder: Folder) -> None:
    tool = folder.load("async def f(): pass\nasync def probe(key): return key\nf.probe = probe")
    assert isinstance(tool, Probing)
    assert await tool.probe("a") == ToolResult("a")
    source = "import asyncio\nasync def f(): pass\nf.probe = lambda key: asyncio.run(asyncio.sleep(0.5))"
    slow = folder.load(source, timeout_seconds=0.02)
    assert isinstance(slow, Probing)
    with pytest.raises(ToolUnknown, match="TimeoutError"):
        await slow.probe("a")
    assert not isinstance(folder.load("def f(): pass"), Probing)


# ---- what cannot be loaded -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("f = 5", "'f' in .*py is no function, but a value of type 'int'"),
        ("def g(): pass", "py has no 'f'"),
        ("import no_such_library", "needs the module 'no_such_library', which is not installed"),
        ("def f(:", r"cannot be imported \(SyntaxError"),
        ("raise ValueError('bad\\x1b[2J')", r"cannot be imported \(ValueError: bad\\x1b"),
        ("raise SystemExit(1)", r"cannot be imported \(SystemExit"),
        ("def f(*names): pass", r"`\*names` has no names"),
        ("def f(**names): pass", r"`\*\*names` has no names"),
        ("def f(a: 'NoSuchType'): pass", "the hint of `a` cannot be resolved"),
        ("def f(a: 'syntax error'): pass", "the hint of `a` cannot be resolved"),
        ("import threading\ndef f(ok: int, a: threading.Thread): pass", "the hint of `a` cannot be described"),
        ("from typing import Callable\ndef f(a: Callable[[], int]): pass", "the hint of `a` cannot be described"),
        ("def f(): yield 1", "it yields"),
        ("async def f(): yield 1", "it yields"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_sentence(folder: Folder, source: str, what: str) -> None:
    with pytest.raises(ToolLoadError, match=what) as caught:
        folder.load(source, name="pay")
    assert str(caught.value).startswith("The tool 'pay' ")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("reference", ["", "pay", "../pay:f", "pay:f()", ":f", "pay:"])
def test_a_reference_that_names_nothing_is_told(folder: Folder, reference: str) -> None:
    with pytest.raises(ToolLoadError, match="write `module:function`"):
        load(reference, folder.path, name="f")


def test_a_missing_module_is_told_with_the_folder(folder: Folder) -> None:
    with pytest.raises(ToolLoadError, match=f"no module 'missing.there' in {folder.path} or on PYTHONPATH"):
        load("missing.there:f", folder.path, name="f")


def test_a_module_may_not_hide_behind_another_of_its_name(folder: Folder) -> None:
    folder.write("def dumps(a: int): pass", "json")
    with pytest.raises(ToolLoadError, match=r"json.py cannot be imported, because .* has the same name: rename it"):
        load("json:dumps", folder.path, name="f")


async def test_modules_are_found_in_packages_and_find_their_siblings(folder: Folder) -> None:
    number = next(numbers)
    folder.write("VALUE = 5", f"module_of_test_{number}.sibling")
    folder.write(
        f"from module_of_test_{number} import sibling\ndef f(): return sibling.VALUE", f"module_of_test_{number}.tool"
    )
    assert (await run(load(f"module_of_test_{number}.tool:f", folder.path, name="f"))).data == 5
    assert (await run(load("math:sqrt", folder.path, name="root"), x=9)).data == 3.0

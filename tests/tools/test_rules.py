"""What a call may do: forbidden, asked, allowed; and that nothing gets around it."""

from __future__ import annotations

import itertools
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tools import command_words
from app.tools.rules import RuleError, Rules, check_patterns, exact_entry

STRICTNESS = {"allow": 0, "ask": 1, "deny": 2}


def command(line: object) -> dict[str, Any]:
    return {"command": line}


def verdict(rules: Rules, tool: str, arguments: dict[str, Any] | None, **more: Any) -> str:
    return rules.decide(tool, arguments, **more).verdict


def test_without_rules_a_call_is_allowed() -> None:
    decision = Rules().decide("write_file", {"path": "a"})
    assert (decision.verdict, decision.rule) == ("allow", None)


def test_deny_comes_before_ask_before_allow() -> None:
    everything = Rules(deny=["t"], ask=["t"], allow=["t"], default="deny")
    assert everything.decide("t", {}).verdict == "deny"
    assert Rules(ask=["t"], allow=["t"], default="deny").decide("t", {}).verdict == "ask"
    assert Rules(allow=["t"], default="deny").decide("t", {}).verdict == "allow"
    assert Rules(allow=["t"], default="deny").decide("u", {}).verdict == "deny"


def test_the_line_that_decided_is_told() -> None:
    decision = Rules(ask=["read_file", "write_file(path=*.py)"]).decide("write_file", {"path": "a.py"})
    assert decision.rule == "write_file(path=*.py)"
    assert decision.why == "The rule `write_file(path=*.py)` asks for a yes."


def test_a_glob_may_stand_for_the_name_of_a_tool() -> None:
    rules = Rules(deny=["mcp__time__*"])
    assert verdict(rules, "mcp__time__now", {}) == "deny"
    assert verdict(rules, "mcp__timer", {}) == "allow"


def test_all_arguments_of_an_entry_must_match() -> None:
    rules = Rules(allow=["http_request(method=GET, url=https://a.org/*)"], default="ask")
    assert verdict(rules, "http_request", {"method": "get", "url": "https://a.org/x"}) == "allow"
    assert verdict(rules, "http_request", {"method": "POST", "url": "https://a.org/x"}) == "ask"
    assert verdict(rules, "http_request", {"url": "https://a.org/x"}) == "ask"


def test_values_that_are_no_text_are_compared_as_json() -> None:
    rules = Rules(ask=["t(all=true)", "t(limit=1??)", "t(tags=*secret*)"])
    assert verdict(rules, "t", {"all": True}) == "ask"
    assert verdict(rules, "t", {"all": "no"}) == "allow"
    assert verdict(rules, "t", {"limit": 100}) == "ask"
    assert verdict(rules, "t", {"limit": 10}) == "allow"
    assert verdict(rules, "t", {"tags": ["a", "secret"]}) == "ask"


def test_require_approval_asks_unless_a_rule_allows() -> None:
    assert verdict(Rules(), "pay", {"sum": 5}, require_approval=True) == "ask"
    assert verdict(Rules(allow=["pay(sum=5)"]), "pay", {"sum": 5}, require_approval=True) == "allow"
    assert verdict(Rules(deny=["pay"]), "pay", {"sum": 5}, require_approval=True) == "deny"


@pytest.mark.parametrize("pattern", ["rm *", "command=rm *", "execute_command(command=rm *)", "execute_command"])
def test_require_approval_takes_patterns(pattern: str) -> None:
    wanted = [pattern]
    assert verdict(Rules(), "execute_command", command("rm -rf x"), require_approval=wanted) == "ask"
    assert verdict(Rules(), "execute_command", None, require_approval=wanted) == "ask"
    if pattern != "execute_command":
        assert verdict(Rules(), "execute_command", command("ls"), require_approval=wanted) == "allow"


def test_unreadable_arguments_ask_unless_the_call_is_forbidden_anyway() -> None:
    assert verdict(Rules(allow=["t"]), "t", None) == "ask"
    assert verdict(Rules(), "t", None) == "ask"
    assert verdict(Rules(remembered=["t"]), "t", None) == "ask"
    assert verdict(Rules(deny=["t(a=1)"]), "t", None) == "ask"
    assert verdict(Rules(deny=["t"]), "t", None) == "deny"
    assert verdict(Rules(default="deny"), "t", None) == "deny"


# ---- commands ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "ls; rm -rf /",
        "ls && rm x",
        "ls & rm x",
        "ls || rm x",
        "ls | sh",
        "ls\nrm x",
        "ls $(rm x)",
        'ls "$(rm x)"',
        "ls `rm x`",
        'ls "`rm x`"',
        "ls > /etc/passwd",
        "ls >/etc/passwd",
        "ls <(rm x)",
        "ls ${IFS}x",
        "(ls)",
        "ls;rm",
        'ls "',
        "ls 'x",
        "ls x\\",
        "rm ls",
        "/tmp/evil/ls",
        "A=1 ls",
        "lsof -i",
        "",
        ["ls", "x", 5],
        {"ls": 1},
    ],
)
def test_a_command_that_does_more_is_not_allowed_with_it(line: object) -> None:
    for entry in ("ls", "ls *", "ls -*"):
        assert (
            verdict(Rules(allow=[f"execute_command(command={entry})"], default="ask"), "execute_command", command(line))
            == "ask"
        )


@pytest.mark.parametrize("line", ["ls; rm -rf /", "ls && rm", "ls&&rm", "ls -la"])
def test_a_star_in_a_word_stands_for_one_word(line: str) -> None:
    rules = Rules(allow=["execute_command(command=ls*)"], default="ask")
    assert verdict(rules, "execute_command", command(line)) == "ask"
    assert verdict(rules, "execute_command", command("lsblk")) == "allow"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("git status", "git status"),
        ("git status", "git   'status'"),
        ("git *", "git"),
        ("git *", "git log --oneline"),
        ("git commit -m *", 'git commit -m "a; b && c"'),
        ("python *.py", "python hello.py"),
        ("grep *", "grep 'a|b$' file"),
        ("grep *", r"grep a\;b file"),
        ("ls *", ["ls", "a; rm b"]),
        ('"my program" *', "'my program' x"),
    ],
)
def test_a_command_is_allowed_word_by_word(entry: str, line: object) -> None:
    rules = Rules(allow=[f"execute_command(command={entry})"], default="deny")
    assert verdict(rules, "execute_command", command(line)) == "allow"


@pytest.mark.parametrize(
    "line",
    [
        "rm x",
        "rm",
        "'r'm x",
        "r\\m x",
        "/bin/rm -rf x",
        "A=1 B=2 rm x",
        "ls; rm x",
        "ls && /usr/bin/rm x",
        "ls\nrm x",
        "ls | rm",
        "(rm x)",
        "ls $(rm x)",
        "if true; then rm x; fi",
        "for f in *; do rm x; done",
        "sudo rm x",
        "env A=1 /bin/rm x",
        "{ rm x; }",
        ["rm", "x"],
    ],
)
def test_a_forbidden_command_is_found_in_the_line(line: object) -> None:
    assert verdict(Rules(deny=["execute_command(command=rm)"]), "execute_command", command(line)) == "deny"


@pytest.mark.parametrize(
    "line", ['ls "$(rm x)"', "ls `rm x`", "$CMD x", "{rm,x}", "r\\\nm x", "/bin/r? x", "rm 'x", 5, None, [], ["rm", 5]]
)
def test_a_command_of_which_nobody_can_tell_is_asked(line: object) -> None:
    rules = Rules(deny=["execute_command(command=cp)"], allow=["execute_command"])
    decision = rules.decide("execute_command", command(line))
    assert (decision.verdict, decision.rule) == ("ask", "execute_command(command=cp)")


def test_words_in_quotes_are_no_commands() -> None:
    rules = Rules(deny=["execute_command(command=rm *)"])
    assert verdict(rules, "execute_command", command("echo 'a; rm b'")) == "allow"


@given(st.text(alphabet="ab '\"\\\t=x*-", max_size=30))
def test_words_are_those_of_a_posix_shell(line: str) -> None:
    try:
        expected: tuple[str, ...] | None = tuple(shlex.split(line))
    except ValueError:
        expected = None
    found = command_words.split(line)
    assert (None if found is None else sum(found.commands, ())) == expected


# ---- paths and addresses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["src/../secrets/a", "./secrets//a", "secrets", "/work/secrets/a", "../work/secrets/a", "//work/secrets"]
)
def test_a_path_is_resolved_before_it_is_compared(path: str) -> None:
    rules = Rules(deny=["write_file(path=secrets)"], allow=["write_file(path=src/*)"], default="ask", folder="/work")
    assert verdict(rules, "write_file", {"path": path}) == "deny"


@pytest.mark.parametrize("path", ["src/../../etc/passwd", "/etc/passwd", "src", "srcs/a", "src/..", "", "src/\0"])
def test_a_path_that_leaves_is_not_allowed(path: str) -> None:
    rules = Rules(allow=["write_file(path=src/*)"], default="ask", folder="/work")
    assert verdict(rules, "write_file", {"path": path}) == "ask"
    assert verdict(rules, "write_file", {"path": "./x/../src/a/b.py"}) == "allow"


def test_of_a_list_of_paths_one_is_enough_to_forbid_and_all_must_be_allowed() -> None:
    forbid, allow = Rules(deny=["t(paths=a/*)"]), Rules(allow=["t(paths=a/*)"], default="ask")
    assert verdict(forbid, "t", {"paths": ["b", "a/x"]}) == "deny"
    assert verdict(allow, "t", {"paths": ["a/y", "a/x"]}) == "allow"
    assert verdict(allow, "t", {"paths": ["b", "a/x"]}) == "ask"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.org.evil.com/public/x",
        "https://a.org@evil.com/public/x",
        "https://evil.com/a.org/public/x",
        "https://evil.com\\@a.org/public/x",
        "http://a.org/public/x",
        "https://a.org:8443/public/x",
        "https://a.org/public/../private",
        "https://a.org/public/%2e%2e/private",
        "https://a.org/public%2f..%2fprivate",
        "https://a.org/private",
        "https://a.org/ public/x",
        "https://a.org:port/public/x",
        "https:///public/x",
        "a.org/public/x",
        "https://[::1/public/",
        "https://ⓐ.org/public/x",
        5,
    ],
)
def test_another_address_is_not_allowed(url: object) -> None:
    rules = Rules(allow=["http_request(url=https://a.org/public/*)"], default="ask")
    assert verdict(rules, "http_request", {"url": url}) == "ask"
    assert verdict(rules, "http_request", {"url": "HTTPS://A.org:443/public/x?y=1"}) == "allow"


def test_a_glob_for_a_host_does_not_reach_into_the_path() -> None:
    rules = Rules(allow=["http_request(url=https://*.a.org/*)"], default="ask")
    assert verdict(rules, "http_request", {"url": "https://x.a.org/y"}) == "allow"
    assert verdict(rules, "http_request", {"url": "https://evil.com/x.a.org/"}) == "ask"


@pytest.mark.parametrize("url", ["https://a.org", "HTTPS://A.ORG./", "https://a.org:443/x/y?z", "https://a.org//x"])
def test_a_forbidden_host_is_forbidden_in_every_spelling(url: str) -> None:
    assert verdict(Rules(deny=["http_request(url=https://a.org)"]), "http_request", {"url": url}) == "deny"


# ---- what people said yes to ---------------------------------------------------------------------------------------


def test_a_remembered_call_runs_without_being_asked_again() -> None:
    arguments = {"command": "git push", "working_directory": "a"}
    rules = Rules(ask=["execute_command"]).remember(exact_entry("execute_command", arguments))
    assert verdict(rules, "execute_command", dict(reversed(arguments.items()))) == "allow"
    assert verdict(rules, "execute_command", command("git push")) == "ask"
    assert verdict(rules, "execute_command", arguments | {"env": {}}) == "ask"
    assert verdict(rules, "pay", arguments, require_approval=True) == "ask"


def test_a_remembered_call_is_still_forbidden_by_a_rule() -> None:
    rules = Rules(deny=["t"], remembered=[exact_entry("t", {"a": 1})])
    assert verdict(rules, "t", {"a": 1}) == "deny"


def test_a_whole_tool_can_be_remembered_but_not_for_what_a_rule_may_forbid() -> None:
    rules = Rules(deny=["t(command=rm)"], ask=["t"], remembered=["t"])
    assert verdict(rules, "t", command("ls")) == "allow"
    assert verdict(rules, "t", command("ls $X")) == "ask"
    assert verdict(rules.remember(exact_entry("t", command("ls $X"))), "t", command("ls $X")) == "allow"


def test_globs_in_remembered_arguments_are_characters() -> None:
    rules = Rules(default="ask", remembered=[exact_entry("t", {"path": "*"})])
    assert verdict(rules, "t", {"path": "*"}) == "allow"
    assert verdict(rules, "t", {"path": "a"}) == "ask"


# ---- entries that cannot be read -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("", "write `tool`"),
        ("write_file(", "write `tool`"),
        ("write_file path=a", "write `tool`"),
        ("write_file()", "argument=glob"),
        ("write_file(a.py)", "argument=glob"),
        ("write_file(path=)", "is empty"),
        ("write_file(path=a, b)", "must stand in double quotes"),
        ("write_file(path=a, =b)", "must stand in double quotes"),
        ('write_file(path="a, b)', "must stand in double quotes"),
        ("execute_command(command=ls; rm)", "one command"),
        ("execute_command(command=ls 'x)", "never closed"),
        ("http_request(url=a.org)", "begins like"),
        ("t {not json}", "JSON object"),
        ("\x1b[2J", "write `tool`"),
        (5, "write `tool`"),
    ],
)
def test_a_bad_entry_is_told_with_what_is_wrong(entry: str, what: str) -> None:
    with pytest.raises(RuleError) as caught:
        Rules(ask=[entry])
    assert str(caught.value).startswith("The rule `")
    assert what in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_glob_with_a_comma_stands_in_quotes() -> None:
    rules = Rules(deny=['t(a="x, b=y", c=z)'])
    assert verdict(rules, "t", {"a": "x, b=y", "c": "z"}) == "deny"
    assert verdict(Rules(deny=['t(c=z, a="x, \\"y\\"")']), "t", {"a": 'x, "y"', "c": "z"}) == "deny"


def test_bad_patterns_of_a_tool_are_told() -> None:
    check_patterns("t", ["a=b", "x *", "t(a=b)"])
    for pattern in ("", "t(a)", "command=a; b"):
        with pytest.raises(RuleError):
            check_patterns("t", [pattern])


# ---- laws ----------------------------------------------------------------------------------------------------------

TOOLS = ["a", "b", "mcp__x__a"]
VALUES = st.sampled_from(
    ["x", "y", "x/../y", "ls", "rm x", "ls; rm", "ls 'x", "echo $x", "https://a.org/x", "https://"]
)
NAMES = ["path", "command", "url", "text"]
GLOBS = {
    "path": ["x", "*", "y*"],
    "command": ["ls", "rm *", "*"],
    "url": ["https://a.org/*", "*"],
    "text": ["x*", "*", "?"],
}
FIELDS = st.sampled_from([f"{name}={glob}" for name, globs in GLOBS.items() for glob in globs])
ARGUMENTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3)
ENTRIES = st.one_of(
    st.sampled_from([*TOOLS, "*", "mcp__*"]),
    st.builds(
        lambda tool, fields: f"{tool}({', '.join(fields)})",
        st.sampled_from([*TOOLS, "*"]),
        st.lists(FIELDS, min_size=1, max_size=2),
    ),
    st.builds(exact_entry, st.sampled_from(TOOLS), ARGUMENTS),
)
LINES = st.lists(ENTRIES, max_size=3)
PARTS = st.fixed_dictionaries(
    {
        "deny": LINES,
        "ask": LINES,
        "allow": LINES,
        "remembered": LINES,
        "default": st.sampled_from(["allow", "ask", "deny"]),
    }
)
CALLS = st.tuples(
    st.sampled_from(TOOLS),
    st.none() | ARGUMENTS,
    st.booleans() | st.lists(st.one_of(FIELDS, st.sampled_from(["x*", "rm *"])), max_size=2),
)


def strictness(rules: Rules, call: tuple[str, dict[str, Any] | None, Any]) -> int:
    return STRICTNESS[rules.decide(*call).verdict]


@given(PARTS, ENTRIES, CALLS)
def test_one_more_deny_never_loosens(parts: dict[str, Any], entry: str, call: Any) -> None:
    more = parts | {"deny": [*parts["deny"], entry]}
    assert strictness(Rules(**more), call) >= strictness(Rules(**parts), call)


@given(PARTS, ENTRIES, CALLS)
def test_one_more_allow_never_tightens(parts: dict[str, Any], entry: str, call: Any) -> None:
    more = parts | {"allow": [*parts["allow"], entry]}
    assert strictness(Rules(**more), call) <= strictness(Rules(**parts), call)


@given(PARTS, ENTRIES, CALLS)
def test_remembering_never_tightens_and_never_opens_what_is_forbidden(
    parts: dict[str, Any], entry: str, call: Any
) -> None:
    before, after = Rules(**parts), Rules(**parts).remember(entry)
    assert strictness(after, call) <= strictness(before, call)
    forbidden = strictness(Rules(deny=parts["deny"]), call) == STRICTNESS["deny"]
    assert not forbidden or strictness(after, call) == STRICTNESS["deny"]


@given(PARTS, CALLS)
def test_the_order_of_the_lines_changes_no_verdict(parts: dict[str, Any], call: Any) -> None:
    expected = strictness(Rules(**parts), call)
    for key in ("deny", "ask", "allow", "remembered"):
        for lines in itertools.permutations(parts[key]):
            assert strictness(Rules(**(parts | {key: list(lines)})), call) == expected


@given(PARTS, PARTS, PARTS, CALLS)
def test_a_child_never_exceeds_its_parents(
    child: dict[str, Any], parent: dict[str, Any], root: dict[str, Any], call: Any
) -> None:
    own, above, top = Rules(**child), Rules(**parent), Rules(**root)
    expected = max(strictness(own, call), strictness(above, call), strictness(top, call))
    assert strictness(own.within(above.within(top)), call) == expected
    assert strictness(own.within(above).within(top), call) == expected


@given(PARTS, PARTS, ENTRIES, CALLS)
def test_what_a_child_remembers_opens_nothing_of_its_parent(
    child: dict[str, Any], parent: dict[str, Any], entry: str, call: Any
) -> None:
    within = Rules(**child).within(Rules(**parent)).remember(entry)
    assert strictness(within, call) >= strictness(Rules(**parent), call)


@given(PARTS, st.sampled_from(TOOLS), st.booleans())
def test_unreadable_arguments_are_never_allowed(parts: dict[str, Any], tool: str, require_approval: bool) -> None:
    assert Rules(**parts).decide(tool, None, require_approval).verdict != "allow"

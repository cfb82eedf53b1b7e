"""Flags in place of a file, and the file that `hector init` writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.init import init
from app.cli.without_file import NO_FLAGS, QuickFlags, read_config
from app.config.find import FILES
from app.config.load import ConfigError, load_config


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a file, and an environment without keys or Ollama."""
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI", "ANTHROPIC", "GEMINI", "OPENROUTER"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        (NO_FLAGS, {}, ("local", None, None)),
        (QuickFlags(model="m"), {}, ("openai", "m", None)),
        (QuickFlags(model="m"), {"GEMINI_API_KEY": "k"}, ("gemini", "m", None)),
        (QuickFlags(provider="anthropic"), {"OPENAI_API_KEY": "k"}, ("anthropic", "claude-sonnet-4-5", None)),
        (QuickFlags(api_key="sk-ant-x"), {}, ("anthropic", "claude-sonnet-4-5", None)),
        (QuickFlags(api_key="x"), {}, ("openai", "gpt-5-mini", None)),
        (QuickFlags(base_url="http://x/v1", model="m"), {}, ("openai", "m", "http://x/v1")),
        (QuickFlags(provider="vllm", model="m"), {}, ("vllm", "m", None)),
        (QuickFlags(provider="local"), {"OPENAI_API_KEY": "k"}, ("local", None, None)),
        (NO_FLAGS, {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://x/v1"}, ("openai", "gpt-5-mini", "http://x/v1")),
    ],
)
def test_flags_choose_the_model(
    flags: QuickFlags,
    environ: dict[str, str],
    expected: tuple[str, str | None, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    config = read_config(None, flags).config

    llm = config.llms[config.agents["assistant"].llm]
    assert (llm.type, llm.model, llm.host) == expected


def test_flags_bring_tools_and_documents(empty: Path) -> None:
    config = read_config(None, QuickFlags(tools=True, mcp_url="http://x/mcp", docs="notes")).config

    assert "search" in config.agents["assistant"].tools
    assert config.tools.mcp["server"].url == "http://x/mcp"
    assert config.document_stores["docs"].paths == (empty / "notes",)


def test_a_file_that_is_passed_over_for_flags_is_named(empty: Path) -> None:
    (empty / "config.yaml").write_text("agents: {other: {}}\n")

    loaded = read_config(None, QuickFlags(model="m"))

    assert [*loaded.config.agents] == ["assistant"]
    assert loaded.warnings[0] == f"{empty}/config.yaml: not read, because the command line says what to serve"


def test_an_unknown_provider_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"there is no provider 'cohere' \(known: local, openai, "):
        read_config(None, QuickFlags(provider="cohere"))


def test_a_key_beside_the_working_directory_counts(empty: Path) -> None:
    (empty / ".env").write_text("ANTHROPIC_API_KEY=k\n")

    [llm] = read_config(None).config.llms.values()

    assert (llm.type, llm.is_configured) == ("anthropic", True)


@pytest.mark.parametrize("variable", ["", "OPENAI_API_KEY", "OPENROUTER_API_KEY"])
def test_init_writes_ten_lines_that_mean_what_is_served_without_them(
    empty: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv(variable, "secret")
    before = read_config(None).config

    assert init(Path("config.yaml")) == 0

    text = (empty / "config.yaml").read_text()
    after = load_config(empty / "config.yaml", environ={variable: "secret"})
    assert (after.config.llms, after.warnings) == (before.llms, ())
    assert len(text.splitlines()) <= 12
    assert "secret" not in text


@pytest.mark.parametrize("name", FILES)
def test_init_overwrites_nothing(empty: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (empty / name).write_text("mine")

    assert init(Path("config.yaml")) == 2
    assert (empty / name).read_text() == "mine"
    assert name in capsys.readouterr().err


def test_init_says_why_it_cannot_write(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(empty / "nowhere" / "config.yaml") == 3
    assert "no such file or directory" in capsys.readouterr().err


# -- init that asks ---------------------------------------------------------------------------------------------


def answering(*answers: str) -> Callable[[str], str]:
    """A user who types these lines, and then leaves."""
    left = list(answers)

    def ask(question: str) -> str:
        print(question, end="")
        if not left:
            raise EOFError
        return left.pop(0)

    return ask


@pytest.mark.parametrize(
    ("answers", "kind", "model"),
    [
        (("", ""), "openai", "gpt-5-mini"),  # its key is set
        (("2", "claude-x"), "anthropic", "claude-x"),
        (("ANTHROPIC", ""), "anthropic", "claude-sonnet-4-5"),
        (("9", "cohere", "vllm", "", "qwen"), "vllm", "qwen"),  # what is not in the list, or empty, is asked again
        (("7",), "local", None),
    ],
)
def test_init_asks_for_provider_and_model(
    empty: Path, answers: tuple[str, ...], kind: str, model: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")

    assert init(Path("config.yaml"), ask=answering(*answers)) == 0

    [llm] = load_config(empty / "config.yaml", environ={}).config.llms.values()
    assert (llm.type, llm.model) == (kind, model)


def test_init_says_what_is_still_missing(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init(Path("config.yaml"), QuickFlags(provider="anthropic")) == 0
    assert "before hector serve: export ANTHROPIC_API_KEY=…" in capsys.readouterr().out


def test_init_writes_nothing_for_a_user_who_leaves_or_a_provider_that_is_not_known(empty: Path) -> None:
    assert init(Path("config.yaml"), ask=answering("1")) == 130
    assert init(Path("config.yaml"), QuickFlags(provider="cohere")) == 2
    assert not (empty / "config.yaml").exists()

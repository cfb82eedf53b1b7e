"""From file, environment and flags to one configuration, or to everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from app.config.find import find_config
from app.config.load import ConfigError, LoadedConfig, load_config

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(
    path: Path | None, environ: Mapping[str, str] | None = None, overrides: Mapping[str, object] | None = None
) -> list[str]:
    """The problems, without the folder of the file."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ=environ or {}, overrides=overrides)
    return str(caught.value).replace(f"{path.parent if path else None}/", "").split("\n")


def load(path: Path | None, **environ: str) -> LoadedConfig:
    return load_config(path, environ=environ)


def test_the_named_file_wins_over_the_one_in_the_folder(write: Write, tmp_path: Path) -> None:
    write("")

    assert find_config({"HECTOR_CONFIG": "other.yaml"}, tmp_path) == tmp_path / "other.yaml"


def test_the_file_in_the_folder_is_found(write: Write, tmp_path: Path) -> None:
    path = write("")

    assert find_config({"HECTOR_CONFIG": ""}, tmp_path) == path


@pytest.mark.parametrize("name", ["config.yaml", "hector.yaml", "hector.yml", "config.yml"])
def test_other_names_are_found_the_first_of_them_first(tmp_path: Path, name: str) -> None:
    for later in ("config.yml", "hector.yml", "hector.yaml", "config.yaml"):
        (tmp_path / later).touch()
        if later == name:
            break

    assert find_config({}, tmp_path) == tmp_path / name


def test_what_cannot_be_read_is_told_and_not_replaced_by_the_demonstration(tmp_path: Path) -> None:
    link = tmp_path / "config.yaml"
    link.symlink_to("gone.yaml")
    assert find_config({}, tmp_path) == link
    assert refused(link) == ["config.yaml: is a link to a file that does not exist"]

    link.unlink()
    link.mkdir()
    assert find_config({}, tmp_path) == link
    assert refused(link) == ["config.yaml: is a directory"]


def test_a_folder_without_a_file_has_none(tmp_path: Path) -> None:
    assert find_config({}, tmp_path) is None


def test_an_empty_file_means_the_defaults_at_its_folder(write: Write, tmp_path: Path) -> None:
    loaded = load(write("# nothing\n"))

    assert loaded.config == load_config(None, environ={}, cwd=tmp_path).config
    assert loaded.config.storage.path == tmp_path / "data" / "hector.db"


def test_without_a_file_other_values_take_its_place(tmp_path: Path) -> None:
    values = {"llms": {"x": {"type": "openai", "model": "m"}}, "document_stores": {"d": {"paths": ["docs"]}}}

    loaded = load_config(None, environ={"OPENAI_API_KEY": "k"}, cwd=tmp_path, instead=values)

    llm = loaded.config.llms[loaded.config.agents["assistant"].llm]
    assert (llm.type, llm.model, llm.is_configured) == ("openai", "m", True)
    assert loaded.config.document_stores["d"].paths == (tmp_path / "docs",)


@pytest.mark.parametrize(
    ("variable", "value", "host"),
    [
        ("OPENAI_BASE_URL", "https://keys.example/v1/", "https://keys.example/v1"),
        ("OPENAI_BASE_URL", "  ", None),
        ("ANTHROPIC_BASE_URL", "https://keys.example", "https://keys.example/v1"),
        ("OLLAMA_HOST", "0.0.0.0:11500", "http://127.0.0.1:11500/v1"),
        ("OLLAMA_HOST", "gpu", "http://gpu:11434/v1"),
        ("OLLAMA_HOST", "https://gpu.example", "https://gpu.example:443/v1"),
    ],
)
def test_the_host_of_the_environment_counts_where_the_entry_names_none(
    write: Write, variable: str, value: str, host: str | None
) -> None:
    kind = variable.partition("_")[0].lower()
    path = write(
        f"llms:\n  a: {{type: {kind}, model: m}}\n  b: {{type: {kind}, model: m, host: 'http://own.example/v1'}}\n"
        "agents: {}\n"
    )

    llms = load(path, **{variable: value, "OPENAI_API_KEY": "k"}).config.llms

    assert (llms["a"].host, llms["b"].host) == (host, "http://own.example/v1")


def test_flags_beat_the_environment_which_beats_the_file_which_beats_defaults(write: Write) -> None:
    path = write("server: {port: 1, host: localhost, max_message: 5}\n")
    environ = {"HECTOR_SERVER__PORT": "2", "HECTOR_SERVER__HOST": "::1"}

    server = load_config(path, environ=environ, overrides={"server.port": 3, "server.host": None}).config.server

    assert (server.port, server.host, server.max_message, server.max_body) == (3, "::1", 5, 1 << 20)


def test_a_value_from_above_hides_a_broken_one_in_the_file(write: Write) -> None:
    path = write("server: {port: '${NONE}'}\n")

    assert load(path, HECTOR_SERVER__PORT="9").config.server.port == 9


def test_references_become_values_of_any_kind(write: Write) -> None:
    path = write("server:\n  port: ${PORT:-81}\n  allow_unauthenticated: ${OPEN}\n")

    server = load(path, OPEN="true").config.server

    assert (server.port, server.allow_unauthenticated) == (81, True)


def test_a_variable_cannot_bring_yaml_with_it(write: Write) -> None:
    path = write("agents:\n  a:\n    description: ${TEXT}\n")
    text = "x\n    llm: other # {a: [b]}"

    assert load(path, TEXT=text).config.agents["a"].description == text


def test_a_key_that_the_entry_leaves_out_comes_from_its_usual_variable(write: Write) -> None:
    path = write("llms: {c: {type: anthropic, model: m}, d: {type: anthropic, model: m, api_key: ''}}\nagents: {}\n")

    llms = load(path, ANTHROPIC_API_KEY="k").config.llms

    assert (llms["c"].is_configured, llms["d"].is_configured) == (True, False)


def test_every_problem_is_told_with_line_and_key(write: Write) -> None:
    path = write(
        "server:\n  prot: 1\nlogging:\n  format: never\nsessions:\n  timeout: 10:30\n"
        "agents:\n  a: {enable_streaming: true}\n"
    )

    assert refused(path) == [
        "config.yaml:2: server.prot: unknown key; did you mean 'port'?",
        "config.yaml:4: logging.format: must be 'text' or 'json' (got 'never')",
        "config.yaml:6: sessions.timeout: is not a duration: "
        "write 30s, 10m, 24h, 7d, 500ms, 1h30m or a number of seconds (got '10:30')",
        "config.yaml:8: agents.a.enable_streaming: unknown key; "
        "'enable_streaming' belongs under agents.<name>.reasoning",
    ]


def test_sections_that_disagree_are_told_with_line_and_key(write: Write) -> None:
    path = write("llms: {gpt: {type: scripted}}\nagents:\n  a:\n    llm: gtp\n  b:\n    llm: gpt\n")

    assert refused(path) == ["config.yaml:4: agents.a.llm: there is no llm 'gtp'; did you mean 'gpt'? (llms: gpt)"]


def test_a_broken_section_does_not_hide_what_is_wrong_between_others(write: Write) -> None:
    path = write(
        "llms:\n  gpt: {type: openai, mode: x}\n  bad: 5\nagents:\n  a: {llm: gtp}\n  b: {llm: bad}\n"
        "  c: {llm: '${NONE}'}\nserver: {host: 0.0.0.0, prot: 1}\nauth: {kyes: {a: b}}\n"
    )

    assert refused(path) == [
        "config.yaml:2: llms.gpt.mode: unknown key; did you mean 'model'?",
        "config.yaml:3: llms.bad: must be a mapping (key: value) (got 5)",
        "config.yaml:5: agents.a.llm: there is no llm 'gtp'; did you mean 'gpt'? (llms: gpt, bad)",
        "config.yaml:7: agents.c.llm: environment variable NONE is not set; set it or write ${NONE:-default}",
        "config.yaml:8: server.prot: unknown key; did you mean 'port'?",
        "config.yaml:9: auth.kyes: unknown key; did you mean 'keys'?",
    ]


def test_an_empty_section_of_llms_is_told_as_such(write: Write) -> None:
    [problem] = refused(write("llms: {}\n"))

    assert problem.endswith(
        "agents.assistant.llm: there are no llms: add one under llms, or remove the section for the embedded model"
    )


def test_what_a_reference_holds_is_shown_unless_its_name_is_a_secrets(write: Write) -> None:
    path = write("sessions: {timeout: '${PAUSE}'}\nevents: {retention: '${API_TOKEN}'}\n")

    first, second = refused(path, {"PAUSE": "soon", "API_TOKEN": "hidden"})

    assert first.endswith("(got 'soon' from ${PAUSE})")
    assert second.endswith("(got '${API_TOKEN}')")


@pytest.mark.parametrize("text", ["$NAME", "$name"])
def test_a_bare_variable_as_a_value_is_refused_with_its_braces(write: Write, text: str) -> None:
    [problem] = refused(write(f"agents: {{a: {{description: {text}}}}}\n"), {"name": "x"})

    assert problem == f"config.yaml:1: agents.a.description: write ${{{text[1:]}}}: a variable's name stands in braces"


@pytest.mark.parametrize("text", ["$5", "$ecret", "costs $NAME", "$"])
def test_other_dollars_are_text(write: Write, text: str) -> None:
    assert load(write(f"agents: {{a: {{description: '{text}'}}}}\n")).config.agents["a"].description == text


def test_an_unknown_key_far_from_any_other_is_told_what_is_known(write: Write) -> None:
    assert refused(write("logging: {colour: red}\n")) == [
        "config.yaml:1: logging.colour: unknown key; known here: access, audit, format, level"
    ]


def test_a_problem_in_a_list_names_the_item(write: Write) -> None:
    path = write("llms:\n  d:\n    type: scripted\n    script:\n      - hi\n      - {txt: ho}\n")

    assert refused(path) == ["config.yaml:6: llms.d.script[1].txt: unknown key; did you mean 'text'?"]


def test_a_missing_variable_is_told_once_with_line_and_key(write: Write) -> None:
    assert refused(write("server:\n  port: ${PORT}\n")) == [
        "config.yaml:2: server.port: environment variable PORT is not set; set it or write ${PORT:-default}"
    ]


def test_a_problem_from_outside_the_file_names_where_it_came_from(write: Write) -> None:
    found = refused(write(""), {"HECTOR_SERVER__PORT": "many"}, {"server.prot": 1})

    assert found == [
        "HECTOR_SERVER__PORT: server.port: must be a whole number",
        "command line: server.prot: unknown key; did you mean 'port'?",
    ]


def test_yaml_that_cannot_be_read_names_the_line(write: Write) -> None:
    [problem] = refused(write("server: {port: 1\nagents: {}\n"))

    assert problem.startswith("config.yaml:2: not valid YAML: ")


def test_a_repeated_key_names_both_lines(write: Write) -> None:
    assert refused(write("events: {}\nevents: {}\n")) == ["config.yaml:2: 'events' stands twice; first on line 1"]


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml") == ["none.yaml: no such file or directory"]


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert refused(tmp_path) == [f"{tmp_path.name}: is a directory"]


def test_a_file_that_is_not_text_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"server: {}\n\xff\n")

    assert refused(path) == ["config.yaml:2: not UTF-8 text"]


@pytest.mark.parametrize("section", ["server: 5", "server: [a]", "llms: x", "agents: {a: 1}", "auth: {keys: [a]}"])
def test_a_value_where_keys_belong_is_refused_in_a_sentence(write: Write, section: str) -> None:
    [problem] = refused(write(section), {"HECTOR_LOGGING__LEVEL": "debug"})

    assert "must be a mapping (key: value)" in problem


@pytest.mark.parametrize(
    "text",
    [
        "auth: {keys: {a: [hidden]}}",
        "auth: {keys: {a: '${KEY} '}}",
        "auth: {keys: {a: '${KEY}', b: '${KEY}'}}",
        "auth: hidden",
        "llms: {x: {type: openai, apikey: hidden}}",
        "llms: {x: {type: openai, model: m, api_key: {hidden: 1}}}",
        "llms: {x: {type: openai, model: m, host: 'hidden@host'}}",
        "storage: {url: 'postgresql+x://u:hidden@host/d'}",
        "storage: {url: '${KEY}'}",
        "sessions: {timeout: '${KEY}'}",
        "logging: {level: '${KEY}'}",
        "llms: {x: {type: openai, model: m, api_key: *hidden}}",
    ],
)
def test_no_error_shows_a_secret(write: Write, text: str) -> None:
    problems = "\n".join(refused(write(text), {"KEY": "hidden"}))

    assert "hidden" not in problems.replace("api_key.hidden", "")


def test_no_traceback_leads_from_the_error_to_the_values(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write("auth: {keys: {a: ''}}"))

    assert caught.value.__context__ is None


def test_a_key_that_can_be_guessed_is_told_without_the_key(write: Write) -> None:
    path = write(f"auth:\n  keys:\n    ann: fifteen-letters\n    bob: {'b' * 16}\n    Ju\u0308rgen: ${{KEY}}\n")
    warnings = load(path, KEY="short").warnings
    assert [warning.partition(": has fewer than 16")[0] for warning in warnings] == [
        f"{path}:3: auth.keys.ann",
        f"{path}:5: auth.keys.Jürgen",
    ]
    assert not any(secret in "".join(warnings) for secret in ("fifteen-letters", "short"))

"""The models: defaults, and what sections have to agree on."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from app.config.agent import StreamingConfig
from app.config.explain import explain
from app.config.llm import LLMConfig
from app.config.root import Config
from app.config.server import StorageConfig
from app.config.tool_types import CommandConfig

SCRIPTED = {"type": "scripted"}


def refused(**sections: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(sections)
    return str(caught.value)


def test_nothing_said_means_one_assistant_on_the_embedded_model() -> None:
    config = Config()

    assert list(config.agents) == ["assistant"]
    assert config.llms[config.agents["assistant"].llm].type == "local"


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().server.port = 1


@pytest.mark.parametrize("llms", [["only"], ["a", "default", "local"], ["a", "local"]])
def test_an_agent_without_llm_gets_the_only_one_or_default_or_local(llms: list[str]) -> None:
    config = Config.model_validate({"llms": dict.fromkeys(llms, SCRIPTED)})

    assert config.agents["assistant"].llm == next(name for name in ("only", "default", "local") if name in llms)


def test_an_agent_without_llm_among_several_has_to_choose() -> None:
    assert "is needed, for there are several llms: a, b" in refused(llms={"a": SCRIPTED, "b": SCRIPTED})


def test_an_agent_on_an_unknown_llm_is_told_the_nearest() -> None:
    text = refused(llms={"gpt": SCRIPTED, "x": SCRIPTED}, agents={"a": {"llm": "gtp"}})

    assert "there is no llm 'gtp'; did you mean 'gpt'? (llms: gpt, x)" in text


def test_an_agent_without_a_name_is_called_by_its_entry() -> None:
    assert Config.model_validate({"agents": {"coder": {}}}).agents["coder"].name == "coder"


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "two words", "a" * 65])
def test_an_agent_name_that_does_not_fit_into_an_address_is_refused(name: str) -> None:
    assert "an agent's name is made of" in refused(agents={name: {}})


def test_the_vectorshift_door_needs_an_llm_that_exists() -> None:
    assert "there is no llm 'x'" in refused(compat={"vectorshift": {"default_llm": "x"}})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.0.1", "::1", "[::1]"])
def test_loopback_needs_no_key(host: str) -> None:
    assert Config.model_validate({"server": {"host": host}}).server.is_loopback


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "localhost.example.org"])
def test_a_host_that_others_reach_needs_a_key_or_a_confirmation(host: str) -> None:
    assert "add auth.keys or auth.jwt, listen on 127.0.0.1, or confirm with" in refused(server={"host": host})


@pytest.mark.parametrize(
    "sections",
    [{"auth": {"keys": {"a": "s"}}}, {"server": {"host": "0.0.0.0", "allow_unauthenticated": True}}],
)
def test_a_key_or_a_confirmation_opens_the_host(sections: dict[str, Any]) -> None:
    server = {"host": "0.0.0.0"} | sections.get("server", {})

    assert Config.model_validate(sections | {"server": server}).server.host == "0.0.0.0"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"alice": ""}, "the secret of 'alice' is empty"),
        ({"alice": "two words"}, "must be ASCII without spaces"),
        ({"alice": "schlüssel"}, "must be ASCII without spaces"),
        ({"alice": "same", "bob": "same"}, "'alice' and 'bob' have the same secret"),
        ({" ": "x"}, "a key needs a name"),
    ],
)
def test_secrets_that_cannot_work_are_refused(keys: dict[str, str], sentence: str) -> None:
    assert sentence in refused(auth={"keys": keys})


def test_secrets_stay_out_of_repr_dump_and_errors() -> None:
    sections = {
        "auth": {"keys": {"a": "hidden-1"}},
        "llms": {"x": {"type": "openai", "model": "m", "api_key": "hidden-2"}},
        "redis": {"url": "redis://:hidden-3@host"},
        "storage": {"url": "postgresql://u:hidden-5@host/d?password=hidden-6"},
    }
    config = Config.model_validate(sections)
    error = refused(**sections, server={"port": "hidden-4"})

    assert "hidden" not in f"{config!r} {config} {config.model_dump_json()} {config.model_dump()} {error}"


@pytest.mark.parametrize("kind", ["openai", "anthropic", "gemini", "openrouter"])
def test_a_provider_without_its_key_is_not_configured(kind: Any) -> None:
    without = LLMConfig(type=kind, model="m", api_key=SecretStr(""))

    assert not without.is_configured
    assert without.model_copy(update={"api_key": SecretStr("k")}).is_configured


@pytest.mark.parametrize("kind", ["local", "scripted", "ollama", "vllm"])
def test_a_model_that_asks_for_no_key_is_configured(kind: Any) -> None:
    assert LLMConfig(type=kind, model="m").is_configured


def test_a_provider_needs_a_model() -> None:
    assert "type 'ollama' needs a `model`" in refused(llms={"x": {"type": "ollama"}})


def test_a_script_belongs_to_a_scripted_model() -> None:
    assert "`script` belongs to type 'scripted'" in refused(llms={"x": {"type": "local", "script": ["hi"]}})


def test_a_text_in_a_script_is_an_answer() -> None:
    llm = LLMConfig.model_validate({"type": "scripted", "script": ["hi", {"text": "ho", "hang": True}]})

    assert llm.script is not None
    assert [(answer.text, answer.hang) for answer in llm.script] == [("hi", False), ("ho", True)]


@pytest.mark.parametrize(
    ("value", "grace"),
    [("never", None), (0, timedelta(0)), ("0", timedelta(0)), ("5s", timedelta(seconds=5))],
)
def test_a_grace_is_a_duration_or_never(value: object, grace: timedelta | None) -> None:
    assert StreamingConfig.model_validate({"disconnect_grace": value}).disconnect_grace == grace


def test_a_prompt_is_a_whole_or_parts() -> None:
    text = refused(agents={"a": {"prompt": {"system_prompt": "x", "tool_usage": "y"}}})

    assert "`system_prompt` is the whole text; remove it or tool_usage" in text


def test_an_empty_value_means_the_default() -> None:
    config = Config.model_validate({"server": {"port": None}, "agents": {"a": None}, "tools": None})

    assert config.server.port == 8080
    assert config.agents["a"].memory.longterm is None


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgresql://u:p%40ss@h:5433/d", "postgresql://u:p%40ss@h:5433/d"),
        ("postgres://h/d", "postgresql://h/d"),
        ("postgresql:///d?host=/run/postgresql", "postgresql:///d?host=/run/postgresql"),
        ("postgresql://u@[::1]:5432/d", "postgresql://u@[::1]:5432/d"),
    ],
)
def test_a_postgres_database_is_taken(url: str, kept: str) -> None:
    storage = StorageConfig(url=url)

    assert (storage.url, storage.is_postgres) == (kept, True)
    assert storage.at(Path("/srv")) == storage


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql+asyncpg://u:hidden@h/d", "the driver is not for you to choose"),
        ("postgresql://u:hid@den@h/d", "write @ as %40"),
        ("postgresql://u:hid/den@h/d", "write @ as %40"),
        ("postgresql://u:hidden#@h/d", "write @ as %40"),
        ("postgresql://u:hidden@h", "must look like postgresql://"),
        ("postgresql://u:hidden@h/", "must look like postgresql://"),
        ("postgresql://u:hidden@h:port/d", "must look like postgresql://"),
    ],
)
def test_a_postgres_address_that_cannot_work_is_refused_without_repeating_it(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"storage": {"url": url}})
    text = "".join(said for _, said in explain(caught.value, {"storage": {"url": url}}, {"storage": {"url": url}}))

    assert sentence in text
    assert "hid" not in text


@pytest.mark.parametrize(
    "url", ["mysql://x", "data/hector.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?mode=ro"]
)
def test_an_address_of_no_database_is_refused(url: str) -> None:
    assert "as in sqlite:///data/hector.db" in refused(storage={"url": url})


def test_relative_paths_start_at_the_folder_and_absolute_ones_stay() -> None:
    config = Config.model_validate(
        {
            "storage": {"url": "sqlite:////var/a.db"},
            "llms": {"local": {"type": "local", "model": "m.gguf"}, "o": {"type": "ollama", "model": "m"}},
            "document_stores": {"d": {"paths": ["docs", "/srv"]}},
        }
    ).at(Path("/etc/hector"))

    assert config.storage.path == Path("/var/a.db")
    assert [llm.model for llm in config.llms.values()] == ["/etc/hector/m.gguf", "m"]
    command = config.tools.named["execute_command"]
    assert isinstance(command, CommandConfig)
    assert command.working_directory == Path("/etc/hector/workspace")
    assert config.document_stores["d"].paths == (Path("/etc/hector/docs"), Path("/srv"))


def test_a_relative_database_becomes_an_absolute_address() -> None:
    assert StorageConfig().at(Path("/srv")).url == "sqlite:////srv/data/hector.db"


def test_only_this_machine_is_a_trusted_proxy() -> None:
    assert Config().server.trusted_proxies == ("127.0.0.1",)


@pytest.mark.parametrize("proxy", ["10.0.0.1", "172.16.0.0/12", "::1", "fd00::/8", "*"])
def test_a_trusted_proxy_is_an_address_or_a_network(proxy: str) -> None:
    assert Config.model_validate({"server": {"trusted_proxies": [proxy]}}).server.trusted_proxies == (proxy,)


@pytest.mark.parametrize("proxy", ["nginx", "10.0.0.0/40", ""])
def test_a_trusted_proxy_that_would_never_match_is_refused(proxy: str) -> None:
    assert "is not an IP address" in refused(server={"trusted_proxies": [proxy]})


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    assert Config.model_validate({"server": {"host": "::1", "port": 80}}).server.address == "http://[::1]:80"


def test_older_messages_are_summed_up_by_the_model_named_for_it_or_the_agents_own_but_not_by_the_embedded() -> None:
    config = Config.model_validate(
        {
            "llms": {"small": {"type": "local"}, "big": {"type": "scripted"}},
            "agents": {
                "own": {"llm": "big"},
                "named": {"llm": "big", "memory": {"working": {"llm": "small"}}},
                "nobody": {"llm": "small"},
            },
        }
    )
    assert [config.summarizer_of(agent) for agent in config.agents.values()] == ["big", "small", None]


@pytest.mark.parametrize(
    ("said", "has_one_user"),
    [
        ({}, True),
        ({"server": {"host": "::1"}}, True),
        ({"server": {"host": "0.0.0.0", "allow_unauthenticated": True}}, False),
        ({"server": {"public_url": "https://chat.example"}}, False),
        ({"server": {"allowed_hosts": ["chat.example"]}}, False),
        ({"auth": {"keys": {"alice": "a-secret-that-is-long-enough-0123456789"}}}, False),
    ],
)
def test_only_a_server_of_this_machine_without_keys_or_a_proxy_has_one_user(
    said: dict[str, Any], has_one_user: bool
) -> None:
    assert Config.model_validate(said).has_one_user is has_one_user

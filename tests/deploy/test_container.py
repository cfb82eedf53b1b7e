"""The image and the compose file keep their promises, as far as that can be seen without a container engine."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import re
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.serve import CLOSE_SECONDS
from app.config.load import ConfigError, load_config
from app.config.units import parse_duration
from tests.deploy.compose import filled
from tests.fixtures.server import ROOT, HectorServer

IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVER, DATABASE = COMPOSE["services"]["hector"], COMPOSE["services"]["database"]
IMAGE_CONFIG = ROOT / "deploy" / "config.yaml"
SCRIPTED = {"llms": {"demo": {"type": "scripted"}}, "agents": {"assistant": {}}}


@dataclass(frozen=True)
class Instruction:
    word: str
    text: str

    @property
    def arguments(self) -> list[str]:
        """Of the exec form. Raises ValueError where a shell would be started instead."""
        return [str(argument) for argument in json.loads(self.text)]


def stages() -> list[list[Instruction]]:
    """The Dockerfile's instructions, by stage; what stands before the first FROM is left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    found: list[list[Instruction]] = []
    for line in filter(str.strip, lines):
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append(Instruction(word, " ".join(rest.split())))
    return found


DEPENDENCIES, PROGRAM, WEIGHTS, FINAL = stages()


def the(word: str, stage: list[Instruction] = FINAL) -> Instruction:
    """The last one counts."""
    return [instruction for instruction in stage if instruction.word == word][-1]


def environment() -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", the("ENV").text))


# -- the image --------------------------------------------------------------------------------------------------


def test_the_server_runs_as_nobody_in_particular() -> None:
    user, _, group = the("USER").text.partition(":")

    assert int(user) > 0
    assert int(group) > 0
    places = [instruction.word for instruction in FINAL]
    assert places.index("USER") > max(place for place, word in enumerate(places) if word in ("RUN", "COPY"))


def test_the_server_is_started_without_a_shell_and_gets_sigterm() -> None:
    assert the("ENTRYPOINT").arguments == ["hector"]
    assert the("CMD").arguments == ["serve"]
    assert the("STOPSIGNAL").text == "SIGTERM"


def test_what_is_installed_is_pinned_with_hashes_and_only_in_the_stage_that_is_thrown_away() -> None:
    both = (*DEPENDENCIES, *PROGRAM)
    installs = [instruction.text for instruction in both if "pip install" in instruction.text]

    assert "--require-hashes -r requirements.txt" in installs[0]
    assert "--no-deps" in installs[1]
    assert "--no-index" in installs[1]
    assert [instruction for instruction in FINAL if "pip " in instruction.text] == []


def test_everything_that_is_copied_exists_and_is_let_through_by_dockerignore() -> None:
    allowed = [line[1:] for line in IGNORE if line.startswith("!")]
    copies = [instruction.text for stage in stages() for instruction in stage if instruction.word == "COPY"]
    sources = [source for text in copies if "--from" not in text for source in text.split()[:-1]]

    assert len(sources) > 4
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, f"{name}*") for name in allowed), source


@pytest.mark.parametrize("name", [".env", ".git", ".venv", "data", "tests", "config.yaml", "docker-compose.yml"])
def test_what_is_private_or_large_does_not_enter_the_build(name: str) -> None:
    assert "*" in IGNORE
    assert not [line for line in IGNORE if line.startswith("!") and fnmatch.fnmatch(name, line[1:])]


def test_weights_come_when_they_are_asked_for() -> None:
    assert the("ARG", WEIGHTS).text == "WEIGHTS=0"
    [fetch] = [
        instruction.text for instruction in WEIGHTS if "weights.py" in instruction.text and "if" in instruction.text
    ]
    assert 'if [ "$WEIGHTS" = 1 ]; then' in fetch
    assert environment()["HECTOR_WEIGHTS_DIR"] == "/opt/weights"


def test_the_data_is_a_volume_of_the_user() -> None:
    assert the("VOLUME").arguments == ["/data"]
    assert any("install -d -o hector -g hector /data" in instruction.text for instruction in FINAL)


def test_a_change_of_the_program_changes_one_layer_and_fetches_no_weights() -> None:
    """What is copied from other stages, in the order of how often it changes."""
    stages_used = [text.split()[0] for text in (one.text for one in FINAL if one.word == "COPY") if "--from" in text]
    assert stages_used == ["--from=dependencies", "--from=weights", "--from=program"]
    copied = [one.text for stage in (DEPENDENCIES, WEIGHTS) for one in stage if one.word == "COPY"]
    assert copied == ["requirements.txt ./", "app/llm/weights.py ./"]


async def test_the_weights_are_fetched_by_a_program_that_stands_alone(tmp_path: Path) -> None:
    script = ROOT / "app" / "llm" / "weights.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-IS", "-c", f"exec(open({str(script)!r}).read(), {{}})"
    )

    assert await process.wait() == 0


async def test_the_health_check_is_python_alone_and_tells_ready_from_not(tmp_path: Path) -> None:
    arguments = json.loads(the("HEALTHCHECK").text.partition("CMD ")[2])
    assert arguments == ["/usr/local/bin/python3", "-IS", "/opt/healthcheck.py"]
    server = HectorServer(tmp_path, SCRIPTED)
    await server.start()

    async def health() -> int:
        environ = {"HECTOR_SERVER__PORT": str(server.port), "http_proxy": "http://127.0.0.1:9"}
        script = str(ROOT / "deploy" / "healthcheck.py")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-IS", script, env=environ, stderr=asyncio.subprocess.DEVNULL
        )
        return await process.wait()

    assert await health() == 0
    await server.close()
    assert await health() != 0


def test_the_images_configuration_needs_a_key_and_keeps_its_data_in_the_volume() -> None:
    environ = {name: value for name, value in environment().items() if name.startswith("HECTOR_")}
    with pytest.raises(ConfigError, match="HECTOR_KEY"):
        load_config(IMAGE_CONFIG, environ=environ)
    loaded = load_config(IMAGE_CONFIG, environ=environ | {"HECTOR_KEY": "a-key-that-is-long-enough"})

    assert loaded.warnings == ()
    assert loaded.config.server.host == "0.0.0.0"
    assert loaded.config.storage.url == "sqlite:////data/hector.db"
    assert list(loaded.config.auth.keys) == ["default"]
    assert environ["HECTOR_CONFIG"] == the_copied_configuration()


def the_copied_configuration() -> str:
    [copy] = [instruction.text for instruction in FINAL if instruction.text.startswith("deploy/config.yaml")]
    return copy.split()[-1]


# -- compose ----------------------------------------------------------------------------------------------------


def test_without_a_key_compose_does_not_start() -> None:
    with pytest.raises(KeyError, match="HECTOR_KEY"):
        filled(SERVER["environment"]["HECTOR_KEY"])


def test_the_server_of_the_compose_file_keeps_its_data_in_its_database() -> None:
    environ = {
        name: filled(value, HECTOR_KEY="a-key-that-is-long-enough") for name, value in SERVER["environment"].items()
    }
    loaded = load_config(IMAGE_CONFIG, environ=environ | {"HECTOR_SERVER__HOST": "0.0.0.0"})
    assert loaded.config.server.port == 8080
    database = {
        name: filled(value, HECTOR_KEY="a-key-that-is-long-enough") for name, value in DATABASE["environment"].items()
    }

    user, password, name = (database[f"POSTGRES_{word}"] for word in ("USER", "PASSWORD", "DB"))
    assert loaded.config.storage.url == f"postgresql://{user}:{password}@database/{name}"
    assert loaded.warnings == ()


def test_the_database_has_no_usual_password() -> None:
    written = DATABASE["environment"]["POSTGRES_PASSWORD"]
    with pytest.raises(KeyError, match="HECTOR_KEY"):
        filled(written)

    assert filled(written, HECTOR_KEY="secret") == "secret"
    assert filled(written, HECTOR_KEY="secret", DATABASE_PASSWORD="other") == "other"


def test_a_configuration_of_ones_own_is_mounted_read_only_and_may_start() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    [(advice, line)] = re.findall(r"# .*cp (\S+) my-config\.yaml.*\n +# - (\S+)$", text, re.MULTILINE)

    assert ROOT / advice == IMAGE_CONFIG
    assert line == f"./my-config.yaml:{environment()['HECTOR_CONFIG']}:ro"


def test_the_compose_file_limits_memory_processes_and_logs() -> None:
    for service in (SERVER, DATABASE):
        assert filled(service["mem_limit"])
        assert service["pids_limit"] > 0
        assert {"max-size", "max-file"} <= set(service["logging"]["options"])
    assert set(COMPOSE["networks"]) >= {network for one in (SERVER, DATABASE) for network in one["networks"]}


def test_the_server_waits_for_a_healthy_database() -> None:
    assert SERVER["depends_on"]["database"]["condition"] == "service_healthy"
    assert DATABASE["healthcheck"]["test"][0] == "CMD"
    assert "pgvector" in DATABASE["image"]


def test_a_stop_has_more_time_than_the_server_may_take() -> None:
    shutdown = load_config(IMAGE_CONFIG, environ={"HECTOR_KEY": "secret"}).config.server.shutdown_grace
    stop = parse_duration(SERVER["stop_grace_period"])

    assert stop >= shutdown + timedelta(seconds=CLOSE_SECONDS + 5)


def test_what_is_kept_lies_in_volumes_that_are_named() -> None:
    for service in (SERVER, DATABASE):
        named = [mount.partition(":")[0] for mount in service["volumes"]]
        assert set(named) <= set(COMPOSE["volumes"])
    assert "data:/data" in SERVER["volumes"]


def test_only_the_server_can_be_reached_and_only_from_this_machine() -> None:
    assert "ports" not in DATABASE
    assert [filled(port) for port in SERVER["ports"]] == ["127.0.0.1:8080:8080", "127.0.0.1:50051:50051"]
    others = [filled(port, PORT="9000", GRPC_PORT="9001", BIND="::1") for port in SERVER["ports"]]
    assert others == ["::1:9000:8080", "::1:9001:50051"]
    assert all(COMPOSE["networks"][network]["internal"] for network in DATABASE["networks"])


def test_the_server_may_do_nothing_that_it_does_not_need() -> None:
    assert SERVER["read_only"] is True
    assert SERVER["cap_drop"] == ["ALL"]
    assert SERVER["security_opt"] == ["no-new-privileges:true"]

"""hector serve, before anything heavy is loaded: reads the configuration, then serves here or starts workers."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from app.cli.loading import without_collections
from app.cli.without_file import NO_FLAGS, QuickFlags, read_config
from app.cli.worker import Worker
from app.config.find import find_config
from app.config.load import ConfigError, LoadedConfig
from app.llm.detect import Probe

CONFIG_ERROR = 2
START_ERROR = 3


def start(
    *,
    config: Path | None,
    overrides: Mapping[str, object],
    quick: QuickFlags = NO_FLAGS,
    worker: str | None = None,
    is_development: bool = False,
) -> int:
    """Serve until a signal stops it. `worker`: what the parent of a worker tells it. Returns the exit code."""
    told = None if worker is None else Worker.parse(worker)
    said = {**overrides, **({} if told is None else told.overrides)}

    def read(probe: Probe | None = None) -> LoadedConfig:
        path = config or (None if quick.are_given else find_config(os.environ, Path.cwd()))
        return read_config(path, quick, overrides=said, probe=probe, tries_tools=True)

    probe = None
    if config is None and find_config(os.environ, Path.cwd()) is None:
        probe = Probe(os.environ)
        _load_server()  # the look at Ollama goes on meanwhile
    try:
        if config is not None and quick.are_given:
            raise ConfigError(f"command line: what {config} says cannot be said by flags too; leave out one of them")
        loaded = read(probe)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return CONFIG_ERROR
    if told is None and loaded.config.server.workers > 1:
        from app.cli.workers import supervise

        return supervise(loaded.config)
    return _load_server()(loaded, lambda: read().config, worker=told, is_development=is_development)


def _load_server() -> Callable[..., int]:
    """`serve`, of which nearly all of the program is imported."""
    with without_collections():
        from app.cli.serve import serve
    return serve

"""`redis.url`: with which databases and addresses it goes, and what it implies."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.load import ConfigError, load_config
from app.config.root import Config

POSTGRES = "storage: {url: 'postgresql://localhost/hector'}\n"


def load(folder: Path, text: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ={}).config


@pytest.mark.parametrize("url", ["redis://localhost:6379/0", "rediss://:secret@cache:6380", "unix:///run/redis.sock"])
def test_servers_with_a_redis_share_their_database(tmp_path: Path, url: str) -> None:
    config = load(tmp_path, f"{POSTGRES}redis: {{url: '{url}'}}")
    assert config.is_shared
    assert config.redis.url is not None
    assert config.redis.url.get_secret_value() == url


def test_an_empty_address_is_none(tmp_path: Path) -> None:
    config = load(tmp_path, "redis: {url: '${REDIS_URL:-}'}")
    assert config.redis.url is None
    assert not config.is_shared


def test_with_sqlite_it_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url: servers that share Redis need PostgreSQL: set storage\.url to"):
        load(tmp_path, "redis: {url: 'redis://localhost'}")


def test_an_address_of_another_kind_is_refused_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url: begins with redis://") as caught:
        load(tmp_path, f"{POSTGRES}redis: {{url: 'http://user:secret@localhost'}}")
    assert "secret" not in str(caught.value)

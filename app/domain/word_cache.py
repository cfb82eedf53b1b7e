"""Caches of functions of single words. Words of users are in them, so they are emptied when something is forgotten."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Clearable(Protocol):
    def cache_clear(self) -> None: ...


_caches: weakref.WeakSet[Clearable] = weakref.WeakSet()


def cached_by_word(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`functools.lru_cache` for a function of short words; `clear_word_caches` empties it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cached = lru_cache(maxsize=maxsize)(function)
        register(cached)
        return cached  # type: ignore[return-value]  # typeshed drops the parameters

    return decorate


def register(cache: Clearable) -> None:
    """Have `clear_word_caches` empty a cache, for as long as it lives."""
    _caches.add(cache)


def clear_word_caches() -> None:
    for cache in list(_caches):
        cache.cache_clear()

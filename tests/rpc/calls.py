"""What the tests of gRPC do again and again: refusals with their reason, streams read to their end."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from app.rpc.generated.hector_pb2 import MessageChunk


@dataclass
class Read:
    """A stream that is over: its chunks and its status."""

    chunks: list[MessageChunk] = field(default_factory=list)
    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""

    @property
    def text(self) -> str:
        """The answer, as a reader assembles it: a snapshot replaces, text is appended."""
        found = ""
        for chunk in self.chunks:
            if chunk.type == "snapshot":
                found = (found if chunk.snapshot.append else "") + chunk.snapshot.text
            elif chunk.type == "text":
                found += chunk.content
        return found

    @property
    def types(self) -> list[str]:
        """The types, each run of the same one once."""
        found: list[str] = []
        for chunk in self.chunks:
            if found[-1:] != [chunk.type]:
                found.append(chunk.type)
        return found


async def read(call: Any) -> Read:
    found = Read()
    try:
        async for chunk in call:
            found.chunks.append(chunk)
    except grpc.aio.AioRpcError as error:
        found.code = error.code()
        metadata: Any = error.trailing_metadata()
        if "reason" in dict(metadata or ()):  # else the connection broke
            found.reason = info_of(error).reason
    return found


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """(status, reason) of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    error = refused.value
    assert trailer(error, "reason") == info_of(error).reason
    return error.code(), info_of(error).reason


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = status_pb2.Status()
    status.ParseFromString(trailer(error, "grpc-status-details-bin"))
    assert status.message == error.details()
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "hector"
    return info


def trailer(error: grpc.aio.AioRpcError, key: str) -> Any:
    metadata: Any = error.trailing_metadata()
    return dict(metadata)[key]

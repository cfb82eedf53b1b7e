"""A trace over two servers: the turn that one runs lies below the request that the other took."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fixtures.cluster import Cluster
from tests.fixtures.house import until

TRACE, CALLER = "a1" * 16, "b2" * 8


class Collector(ThreadingHTTPServer):
    """What servers export: (name of the server, trace, span above, name of the span)."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Take)
        self.spans: list[tuple[str, str, str, str]] = []

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = span.trace_id.hex(), span.parent_span_id.hex()
                    self.spans.append((about["service.instance.id"], *ids, span.name))


class _Take(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.take(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_turn_at_its_owner_lies_below_the_request_at_another_server(
    collector: Collector, tmp_path: Path, postgres_url: str
) -> None:
    settings = {"llms": {"demo": {"type": "scripted", "script": ["Hi."]}}, "agents": {"assistant": {"llm": "demo"}}}
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    async with (
        Cluster(tmp_path, settings, postgres_url, names=("a", "b"), environment=environment) as cluster,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        path = "/agents/assistant/sessions"
        await client.post(f"{cluster.urls[0]}{path}", json={"session_id": "s1"})
        sent = await client.post(
            f"{cluster.urls[1]}{path}/s1/messages",
            json={"message": "Hello"},
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
        )
        assert sent.status_code == 200
        await until(lambda: len(collector.spans) == 2, seconds=20)
    turn = ("a", TRACE, CALLER, "invoke_agent assistant")
    assert turn in collector.spans
    assert {(server, trace) for server, trace, _, _ in collector.spans} == {("a", TRACE)}

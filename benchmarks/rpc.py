"""RPC: what a token costs over gRPC, as a ratio to server-sent events of the same server in the same minutes.

python -m benchmarks.rpc --bench DIR [--rounds 5] [--seconds 5]
"""

from __future__ import annotations

import argparse

from benchmarks.beside import Beside, Tally, parser_of


def parser() -> argparse.ArgumentParser:
    return parser_of(__doc__)


async def follow(address: str, agent: str, number: int, tally: Tally) -> None:
    import grpc

    from app.rpc.generated import hector_pb2 as pb
    from app.rpc.generated.hector_pb2_grpc import A2AServiceStub

    async with grpc.aio.insecure_channel(address) as channel:
        stub = A2AServiceStub(channel)  # type: ignore[no-untyped-call]
        while tally.goes_on:
            text = ""
            request = pb.SendMessageRequest(agent=agent, session_id=f"{agent}-{number}", message="go")
            async for chunk in stub.StreamMessage(request):
                tally.messages += 1
                text += chunk.content
            tally.finished(text)


def main(argv: list[str] | None = None) -> None:
    Beside("rpc", "gRPC", follow, has_port=True).main(parser(), argv)


if __name__ == "__main__":
    main()

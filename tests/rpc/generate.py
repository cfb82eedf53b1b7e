"""The Python code of app/rpc/hector.proto: `make proto` writes it, a test compares it.

python -m tests.rpc.generate [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOM = Path(__file__).parents[2] / "app" / "rpc"
NAMES = ("hector_pb2.py", "hector_pb2.pyi", "hector_pb2_grpc.py")


def generate(target: Path) -> None:
    """Write the three files into `target`. Raises RuntimeError, with protoc's words on standard error."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            *("protoc", f"--proto_path=hector/v1={ROOM}", f"--proto_path={files('grpc_tools')}/_proto"),
            *(f"--python_out={folder}", f"--pyi_out={folder}", f"--grpc_python_out={folder}"),
            "hector/v1/hector.proto",
        ]
        if protoc.main(arguments):
            raise RuntimeError("protoc refused app/rpc/hector.proto")
        for name in NAMES:
            code = (Path(folder) / "hector" / "v1" / name).read_text(encoding="utf-8")
            # protoc knows no package but that of the proto file.
            code = code.replace("from hector.v1 import hector_pb2", "from app.rpc.generated import hector_pb2")
            (target / name).write_text(code, encoding="utf-8")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOM / "generated")

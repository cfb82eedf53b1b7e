"""The search through the files finds what is there, wherever it stands, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.storage import residue


async def test_it_finds_what_stands_in_the_database_its_log_and_a_copy_beside_it(tmp_path: Path) -> None:
    database = tmp_path / "hector.db"
    database.write_bytes(b"\0xyzzy\0xyzzy")
    (tmp_path / "hector.db-wal").write_bytes(b"a\0xyzzy")
    (tmp_path / "hector.db-shm").write_bytes(b"xyzzy")
    (tmp_path / "copy.bak").write_bytes(residue.MAGIC + b"xyzzy")
    (tmp_path / "notes.txt").write_bytes(b"xyzzy is my word")
    assert await residue.search(database, [b"xyzzy", b"plugh"]) == {
        "hector.db": [2, 0],
        "hector.db-wal": [1, 0],
        "copy.bak": [1, 0],
    }
    assert await residue.search(database, [b"plugh"]) == {}
    assert await residue.search(database, []) == {}


async def test_a_search_that_cannot_be_made_is_an_error_and_not_an_empty_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="code 1"):
        await residue.search(tmp_path / "nowhere" / "hector.db", [b"x"])


@given(
    st.binary(min_size=0, max_size=60).map(lambda content: content.replace(b"\x03", b"")),
    st.sampled_from([b"a", b"ab", b"aba", b"\0\0"]),
)
def test_it_counts_across_the_edges_of_pieces(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, word: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "file"
    path.write_bytes(text)
    expected = sum([text.startswith(word, place) for place in range(len(text))])
    piece, residue.PIECE = residue.PIECE, 3
    try:
        assert residue.count(path, [word, b"\x03not there"]) == [expected, 0]
    finally:
        residue.PIECE = piece

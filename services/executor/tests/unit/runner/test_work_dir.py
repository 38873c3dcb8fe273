from __future__ import annotations

import os
from pathlib import Path

import pytest
from jobyard_executor.worker.result_file import ResultUnreadable, read_result
from jobyard_executor.worker.workdir import WorkDir, remove_tree


def test_nothing_is_made_until_something_is_written(tmp_path: Path) -> None:
    folder = WorkDir(str(tmp_path / "job"), staged=False)
    assert not folder.has_outputs()
    with pytest.raises(KeyError):
        folder.input_path("data")
    assert not (tmp_path / "job").exists()
    folder.output_path("a.txt").write_text("x")
    assert folder.has_outputs()


@pytest.mark.parametrize("slot", ["..", ".", "", "a/../../b", "missing"])
def test_an_input_is_only_what_was_staged(tmp_path: Path, slot: str) -> None:
    (tmp_path / "in").mkdir()
    folder = WorkDir(str(tmp_path), staged=True)
    with pytest.raises(KeyError):
        folder.input_path(slot)


def test_a_hostile_folder_is_removed_without_touching_what_it_links_to(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    work = tmp_path / "work"
    (work / "locked").mkdir(parents=True)
    (work / "locked" / "file").write_text("x")
    (work / "link").symlink_to(outside)
    os.mkfifo(work / "fifo")
    (work / "locked").chmod(0)
    here = os.open(work, os.O_RDONLY)
    try:
        for _ in range(3000):
            os.mkdir("deep", dir_fd=here)
            below = os.open("deep", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    remove_tree(str(work))
    assert not work.exists()
    assert (outside / "kept").exists()


def test_a_command_without_result_has_none(tmp_path: Path) -> None:
    assert read_result(str(tmp_path)) == b"null"


def test_a_result_is_kept_byte_true(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b'  {"b": 123456789012345678901234567890, "a": 1.50}\n')
    assert read_result(str(tmp_path)) == b'{"b": 123456789012345678901234567890, "a": 1.50}'


@pytest.mark.parametrize("content", [b"", b"nonsense", b"NaN", b'{"a":1} x', b'"\xff"', b"[" * 100_000])
def test_a_result_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(ResultUnreadable) as caught:
        read_result(str(tmp_path))
    assert caught.value.fault.code == "result_invalid"


def test_a_large_result_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(b'"' + b"x" * 262_144 + b'"')
    with pytest.raises(ResultUnreadable) as caught:
        read_result(str(tmp_path))
    assert caught.value.verdict == "resource_exhausted"
    assert "out/" in caught.value.fault.message


def test_a_result_that_is_a_link_or_a_pipe_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "result.json").symlink_to("/etc/hostname")
    with pytest.raises(ResultUnreadable):
        read_result(str(tmp_path))
    (tmp_path / "result.json").unlink()
    os.mkfifo(tmp_path / "result.json")
    with pytest.raises(ResultUnreadable):
        read_result(str(tmp_path))

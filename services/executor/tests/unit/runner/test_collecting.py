from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec
import pytest
from jobyard_executor.domain.assignment import Assignment, InputFile, OutputFile
from jobyard_executor.outbound.runner import files


class Port:
    def __init__(self, *, failures: int = 0) -> None:
        self.stored: dict[str, bytes] = {}
        self.failures = failures

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("files is away")

    async def fetch(self, file_id: str, path: str, *, tenant: str, traceparent: str) -> None:
        self._fail()
        Path(path).write_text(file_id)

    async def store(
        self, path: str, *, name: str, tenant: str, job_id: str, attempt: int, fence: int, traceparent: str
    ) -> OutputFile:
        self._fail()
        self.stored[name] = Path(path).read_bytes()
        return OutputFile("file_1", name, len(self.stored[name]), "", "text/plain")


def assignment(*slots: str) -> Assignment:
    inputs = tuple(InputFile(slot, f"file_{slot}") for slot in slots)
    return Assignment("job_1", "tnt", 1, 1, "t", "1", msgspec.Raw(b"{}"), 10.0, files=inputs)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSE_S", 0.0)


def test_only_regular_files_are_kept_and_the_rest_is_named(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.txt").write_text("b")
    (out / "a\nb.txt").write_text("a")
    (out / "link").symlink_to("/etc/passwd")
    (out / "folder").mkdir()
    os.mkfifo(out / "fifo")
    Path(os.fsdecode(os.fsencode(out) + b"/bad\xff")).write_text("c")
    port = Port()
    collected = asyncio.run(files.collect(port, assignment(), str(tmp_path)))
    assert port.stored == {"a\ufffdb.txt": b"a", "b.txt": b"b", "bad\ufffd": b"c"}
    assert collected.skipped == ("fifo", "folder", "link")


def test_an_out_folder_that_became_a_link_gives_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    port = Port()
    collected = asyncio.run(files.collect(port, assignment(), str(tmp_path)))
    assert (port.stored, collected.files) == ({}, ())
    assert collected.skipped


def test_too_many_files_are_refused_before_any_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_OUTPUTS", 3)
    (tmp_path / "out").mkdir()
    for number in range(4):
        (tmp_path / "out" / str(number)).touch()
    port = Port()
    with pytest.raises(files.TooManyOutputs):
        asyncio.run(files.collect(port, assignment(), str(tmp_path)))
    assert port.stored == {}


def test_too_many_bytes_are_refused_though_the_file_is_sparse(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / "big").open("wb") as file:
        file.truncate(files.MAX_OUTPUT_BYTES + 1)
    with pytest.raises(files.TooManyOutputs):
        asyncio.run(files.collect(Port(), assignment(), str(tmp_path)))


def test_a_short_absence_of_files_is_bridged(tmp_path: Path) -> None:
    port = Port(failures=2)
    asyncio.run(files.stage(port, assignment("data"), str(tmp_path / "job")))
    assert (tmp_path / "job" / "in" / "data").read_text() == "file_data"


def test_a_long_absence_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(files.FilesUnavailable):
        asyncio.run(files.stage(Port(failures=9), assignment("data"), str(tmp_path / "job")))


@pytest.mark.parametrize("slot", ["../x", "a/b", "..", ""])
def test_a_slot_cannot_lead_out_of_the_work_dir(tmp_path: Path, slot: str) -> None:
    with pytest.raises(files.FilesUnavailable):
        asyncio.run(files.stage(Port(), assignment(slot), str(tmp_path / "job")))

from __future__ import annotations

import pytest
from jobyard_executor.worker.messages import (
    Beat,
    Ended,
    Fault,
    FrameError,
    FrameReader,
    Line,
    Lines,
    Start,
    Stop,
    encode_frame,
)

MESSAGES = [
    Start(1, "job_1", 2, 3, "t", "1", b'{"a":1}', 10.0, None, None, "/w", False),
    Stop(1, "cancel"),
    Lines(1, [Line(1, 1.5, "stdout", "text", None, None)]),
    Ended(1, "error", 1.0, 0.5, b"null", Fault("c", "m"), 3, "", "", False, 1),
    Beat(),
]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_survive_any_cut_of_the_stream(size: int) -> None:
    data = encode_frame(MESSAGES[:3]) + encode_frame(MESSAGES[3:])
    reader = FrameReader()
    found = [message for at in range(0, len(data), size) for message in reader.feed(data[at : at + size])]
    assert found == MESSAGES


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x04\x91\x92\x63\x01"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(data)

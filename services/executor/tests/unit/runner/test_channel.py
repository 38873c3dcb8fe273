from __future__ import annotations

import json

from jobyard_executor.worker.capture import Capture
from jobyard_executor.worker.channel import Channel


def test_entries_arrive_however_they_are_cut() -> None:
    content = (
        b'{"log": {"level": "warning", "message": "m", "fields": {"n": 1}}}\n\n'
        b'{"progress": {"done": 1, "total": 2, "note": "x"}}\n'
        b'{"error": {"code": "no_paper", "message": "empty", "retryable": false}}'
    )
    channel, capture = Channel(), Capture()
    for at in range(0, len(content), 5):
        channel.feed(content[at : at + 5], capture)
    channel.end(capture)
    log, progress = capture.take()
    assert (log.stream, log.level, log.message, json.loads(log.fields or b"")) == ("log", "warning", "m", {"n": 1})
    assert json.loads(progress.fields or b"") == {"done": 1, "total": 2, "note": "x"}
    assert channel.error is not None
    assert (channel.error.code, channel.error.message, channel.error.retryable) == ("no_paper", "empty", False)


def test_what_is_not_understood_is_kept_as_a_warning() -> None:
    channel, capture = Channel(), Capture()
    channel.feed(
        b'not json\n{"log": 5}\n[1]\n\xff\xfe\n' + b"x" * 200_000 + b"\n" + b'{"log": {"message": "ok"}}\n', capture
    )
    lines = capture.take()
    assert [line.level for line in lines] == ["warning"] * 5 + ["info"]
    assert lines[-1].message == "ok"


def test_a_level_of_its_own_is_an_info() -> None:
    channel, capture = Channel(), Capture()
    channel.feed(b'{"log": {"message": "m", "level": "shout"}}\n', capture)
    assert capture.take()[0].level == "info"


def test_a_command_may_ask_for_a_later_attempt() -> None:
    for asked, found in ((b"12.5", 12.5), (b"0", 0.0), (b"-1", None), (b"1e300", None), (b"null", None)):
        channel, capture = Channel(), Capture()
        channel.feed(b'{"error": {"code": "busy", "message": "m", "retry_after_s": ' + asked + b"}}\n", capture)
        assert channel.error is not None
        assert (channel.error.code, channel.error.retry_after_s) == ("busy", found)

"""Every outcome has its exit code, and --json is one document whatever happens."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from jobyard.client.testing import FakeYard

NOT_THERE = {"JOBYARD_URL": "http://127.0.0.1:9"}
TABLE: list[tuple[int, list[str], dict[str, str]]] = [
    (0, ["run", "test.echo", "-p", "value=7"], {}),
    (0, ["run", "test.echo", "--detach"], {}),
    (0, ["status"], {}),
    (0, ["tools", "list"], {}),
    (0, ["tools", "show", "test.echo"], {}),
    (0, ["jobs", "list"], {}),
    (0, ["jobs", "list", "--all", "--state", "failed"], {}),
    (0, ["files", "list"], {}),
    (0, ["keys", "list"], {}),
    (0, ["keys", "create", "mine", "--tenant", "tnt_1"], {}),
    (0, ["tenants", "create", "mine"], {}),
    (0, ["tools", "new", "my.tool"], {}),
    (0, ["open"], {}),
    (1, ["run", "test.fail", "-p", "retryable=false"], {}),
    (2, ["run", "test.echo", "--file", "none.csv"], {}),
    (2, ["run", "test.echo", "-p", "nothing"], {}),
    (2, ["status"], {"JOBYARD_URL": "ftp://x"}),
    (3, ["run", "no.such.tool"], {}),
    (3, ["jobs", "show", "job_0000000000000000"], {}),
    (3, ["jobs", "cancel", "job_0000000000000000"], {}),
    (3, ["files", "show", "file_0000000000000000"], {}),
    (3, ["files", "get", "file_0000000000000000"], {}),
    (3, ["files", "rm", "file_0000000000000000"], {}),
    (3, ["tools", "show", "no.such.tool"], {}),
    (3, ["status"], {"JOBYARD_API_KEY": "jy_wrong"}),
    (4, ["jobs", "list"], NOT_THERE),
    (4, ["run", "test.echo"], NOT_THERE),
    (4, ["status"], NOT_THERE),
]


@pytest.mark.parametrize(("code", "arguments", "env"), TABLE, ids=lambda value: str(value)[:60])
@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_the_table(
    call: Any,
    logged_in: FakeYard,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    arguments: list[str],
    env: dict[str, str],
    as_json: bool,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    done = call(*arguments, *(["--json"] if as_json else []))
    assert done.code == code, done.stderr
    if as_json:
        assert isinstance(done.document, dict)
    elif code:
        assert done.stdout == "" or code == 1
    if code:
        assert done.stderr.strip()


@pytest.mark.parametrize(
    "arguments", [["run"], ["run", "x", "--no-such"], ["nonsense"], ["jobs"], [], ["jobs", "list", "-n", "0"]]
)
def test_what_cannot_be_parsed_is_2(call: Any, logged_in: FakeYard, arguments: list[str]) -> None:
    assert call(*arguments).code == 2
    assert logged_in.yard.seen == []


@pytest.mark.parametrize(("state", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 5), ("expired", 5)])
@pytest.mark.parametrize("command", ["run", "watch"])
def test_the_end_of_a_job_is_the_exit_code(call: Any, logged_in: FakeYard, command: str, state: str, code: int) -> None:
    yard = logged_in.yard
    if command == "watch":
        job = yard.submit({"tool": "test.sleep"}, key=None)
        yard.end(job["id"], state)
        done = call("jobs", "watch", job["id"])
        assert job["id"] in done.stderr
    else:
        yard.autoend = state
        done = call("run", "test.sleep", "--json")
        assert done.document["state"] == state
    assert done.code == code


def test_a_refusal_names_what_is_wrong(call: Any, logged_in: FakeYard) -> None:
    done = call("run", "no.such.tool", "--json")
    assert (done.document["code"], done.document["status"]) == ("unknown_tool", 422)
    assert "unknown_tool" in done.stderr and "/tool" in done.stderr


def test_a_gateway_that_cannot_keep_its_promise_is_4(call: Any, logged_in: FakeYard) -> None:
    logged_in.fail("POST", "/v1/jobs", "status", times=99)
    done = call("run", "test.echo", "--json")
    assert done.code == 4
    assert done.document["code"] == "unavailable"
    assert "--idempotency-key jobyard-py-" in done.stderr


def test_run_prints_the_job_and_nothing_else(call: Any, logged_in: FakeYard) -> None:
    done = call("run", "test.echo", "-p", "value=[1, 2]", "--tag", "a", "--tag", "b", "--priority", "7", "--json")
    job = done.document
    assert (job["state"], job["tags"], job["priority"]) == ("succeeded", ["a", "b"], 7)
    assert job["parameters"] == {"value": [1, 2]}
    assert done.stdout.count("\n") == 1


def test_run_for_people_prints_the_value(call: Any, logged_in: FakeYard) -> None:
    done = call("run", "test.echo", "-p", "value=größer")
    assert json.loads(done.stdout) == "größer"
    assert "succeeded" in done.stderr


def test_run_with_a_file_fills_the_only_slot_and_downloads(call: Any, logged_in: FakeYard, own_place: Path) -> None:
    Path("in.bin").write_bytes(b"content")
    done = call("run", "test.digest", "--file", "in.bin", "-p", "copy_as=../out.bin", "--download", "got", "--json")
    assert done.code == 0
    assert list(done.document["files"]) == ["data"]
    assert Path("got/out.bin").read_bytes() == b"content"
    assert [path.name for path in Path("got").iterdir()] == ["out.bin"]


def test_two_slots_need_names(call: Any, logged_in: FakeYard) -> None:
    Path("a").write_bytes(b"a")
    done = call("run", "test.join", "--file", "a")
    assert done.code == 2 and "left, right" in done.stderr
    logged_in.yard.autoend = "succeeded"
    done = call("run", "test.join", "--file", "left=a", "--file", "right=a", "--json")
    assert sorted(done.document["files"]) == ["left", "right"]


def test_an_unknown_tool_is_refused_before_the_upload(call: Any, logged_in: FakeYard) -> None:
    Path("a").write_bytes(b"a")
    assert call("run", "no.such.tool", "--file", "a").code == 3
    assert logged_in.yard.files == {}


def test_follow_is_a_line_for_each_event(call: Any, logged_in: FakeYard) -> None:
    done = call("run", "test.echo", "--follow", "--json")
    assert [line["event"] for line in done.lines] == [
        *("job.submitted", "job.state", "job.state", "job.log", "job.state", "job.result", "stream.end", "job.finished")
    ]
    assert done.lines[-1]["data"]["state"] == "succeeded"


def test_logs_and_results_of_others_cannot_steer_the_terminal(call: Any, logged_in: FakeYard) -> None:
    job_id = call("run", "test.sleep", "--detach").stdout.strip()
    logged_in.yard.log(job_id, "evil \x1b]0;title\x07 \u202e [bold]x[/bold]")
    logged_in.yard.end(job_id, "succeeded", value="\x1b[2J")
    printed = call("jobs", "logs", job_id)
    assert "[bold]x[/bold]" in printed.stdout
    for done in (printed, call("jobs", "watch", job_id), call("jobs", "result", job_id)):
        assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout + done.stderr)


def test_jobs_in_all_their_aspects(call: Any, logged_in: FakeYard) -> None:
    job_id = call("run", "test.echo", "-p", "value=1", "--json").document["id"]
    assert call("jobs", "show", job_id, "--json").document["id"] == job_id
    assert call("jobs", "result", job_id, "--json").document["value"] == 1
    assert [row["message"] for row in call("jobs", "logs", job_id, "--json").document["data"]] == ["hello"]
    assert [row["message"] for row in call("jobs", "logs", job_id, "--follow", "--json").lines] == ["hello"]
    assert len(call("jobs", "events", job_id, "--json").document["data"]) == 3
    assert call("jobs", "explain", job_id, "--json").document["state"] == "succeeded"
    again = call("jobs", "replay", job_id, "-p", "value=2", "--json").document
    assert again["parameters"] == {"value": 2}
    assert call("jobs", "cancel", job_id, "--json").code == 3
    for verb in ("show", "explain", "events", "logs", "result"):
        assert call("jobs", verb, job_id).code == 0
    listed = call("jobs", "list", "--limit", "1", "--json").document
    assert (len(listed["data"]), listed["has_more"]) == (1, True)
    assert job_id in call("jobs", "list").stdout


def test_many_submits_from_a_file(call: Any, logged_in: FakeYard, own_place: Path) -> None:
    lines = own_place / "jobs.ndjson"
    lines.write_text('{"tool": "test.echo", "parameters": {"value": 1}}\n\n{"tool": "gone"}\n{"tool": "test.echo"}\n')
    done = call("jobs", "submit", str(lines))
    first, refused, last = done.stdout.split()
    assert (done.code, refused) == (3, "-") and "item 1: unknown_tool" in done.stderr
    assert {first, last} == set(logged_in.yard.jobs)
    listed = own_place / "jobs.json"
    listed.write_text('[{"tool": "test.echo"}]')
    found = call("jobs", "submit", str(listed), "--json")
    assert (found.code, found.document["accepted"], found.document["rejected"]) == (0, 1, 0)
    for content in ("", "[]", "{", '{"tools": 1}', "[1]", "\x00"):
        lines.write_text(content)
        assert call("jobs", "submit", str(lines)).code == 2


def test_a_job_is_moved(call: Any, logged_in: FakeYard) -> None:
    job_id = call("run", "test.echo", "-p", "value=1", "--detach", "--json").document["id"]
    moved = call("jobs", "reschedule", job_id, "--run-at", "2031-01-01T00:00:00Z", "--json").document
    assert moved["run_at"] == "2031-01-01T00:00:00Z"
    assert call("jobs", "reschedule", job_id).code == 2
    assert call("jobs", "reschedule", job_id, "--delay", "5m", "--run-at", "2031-01-01T00:00:00Z").code == 2


def test_lists_are_narrowed_by_run_parent_and_time(call: Any, logged_in: FakeYard) -> None:
    since = ["--created-after", "2026-01-01T00:00:00Z", "--created-before", "2027-01-01T00:00:00+01:00"]
    assert call("jobs", "list", "--run", "wfr_1", "--schedule", "sch_1", "--parent", "job_1", *since).code == 0
    assert call("jobs", "list", "--created-after", "yesterday").code == 2
    assert call("bulk", "start", "cancel", "--created-before", "2026-01-01").code == 2


def test_run_takes_every_member_of_a_submit(call: Any, logged_in: FakeYard) -> None:
    given = ["--soft-timeout", "4m", "--timeout", "5m", "--deadline", "2031-01-01T00:00:00Z", "--max-attempts", "4"]
    given += ["--retry", "backoff=fixed", "--retry", "base_s=2.5", "--retry", "non_retryable=a,b"]
    given += ["--fairness-key", "f", "--concurrency-key", "c", "--callback-url", "https://example.org/x"]
    call("run", "test.echo", "-p", "value=1", "--detach", *given)
    (sent,) = logged_in.yard.submitted
    assert {name: sent[name] for name in ("soft_timeout_s", "deadline_at", "fairness_key", "concurrency_key")} == {
        "soft_timeout_s": 240,
        "deadline_at": "2031-01-01T00:00:00Z",
        "fairness_key": "f",
        "concurrency_key": "c",
    }
    assert sent["retry"] == {"backoff": "fixed", "base_s": 2.5, "non_retryable": ["a", "b"], "max_attempts": 4}
    assert sent["callback_url"] == "https://example.org/x"


def test_files_up_and_down(call: Any, logged_in: FakeYard) -> None:
    content = os.urandom(100_000)
    Path("up.bin").write_bytes(content)
    put = call("files", "put", "up.bin", "--json").document
    assert put["size"] == len(content)
    got = call("files", "get", put["id"], "--output", "down.bin", "--json").document
    assert (Path("down.bin").read_bytes() == content, got["sha256"]) == (True, put["sha256"])
    assert call("files", "get", put["id"]).code == 2, "up.bin is there already"
    assert call("files", "get", put["id"], "--force").code == 0
    Path("folder").mkdir()
    assert call("files", "get", put["id"], "--output", "folder").code == 0
    assert Path("folder/up.bin").read_bytes() == content
    assert put["id"] in call("files", "list").stdout
    assert call("files", "rm", put["id"]).code == 0
    assert call("files", "show", put["id"]).code == 3


def test_a_text_file_to_a_pipe(call: Any, logged_in: FakeYard) -> None:
    Path("a.txt").write_text("two\nlines\n")
    file_id = call("files", "put", "a.txt").stdout.strip()
    assert call("files", "get", file_id, "--output", "-").stdout == "two\nlines\n"
    assert call("files", "get", file_id, "--output", "-", "--json").code == 2

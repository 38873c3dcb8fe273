from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from jobyard import errors
from jobyard.client import AsyncClient, Client, Policy
from jobyard.client.testing import FakeYard


def test_a_job_from_submit_to_result(client: Client) -> None:
    job = client.submit("test.echo", parameters={"value": {"b": 1, "a": [None, "é"]}}, tags=["t"])
    assert job.wait(timeout=5).succeeded
    assert job.data.version == 3
    result = job.result()
    assert list(result.value) == ["b", "a"]
    assert result.value == {"b": 1, "a": [None, "é"]}
    assert job.document["tags"] == ["t"]


@pytest.mark.parametrize("value", [10**399, -(2**64) - 1, 0.1, 1e308, "\U0010ffff", "", [[]], True, None])
def test_values_come_back_exactly(client: Client, value: Any) -> None:
    assert client.submit("test.echo", parameters={"value": value}).wait(timeout=5).result().value == value


def test_a_failed_job_is_a_state_and_no_exception(client: Client) -> None:
    job = client.submit("test.fail", parameters={"message": "no luck"}).wait(timeout=5)
    assert (job.state, job.reason) == ("failed", "error")
    assert job.error is not None and job.error.message == "no luck"


def test_every_submit_carries_a_key_of_its_own(client: Client, fake: FakeYard) -> None:
    client.submit("test.echo")
    client.submit("test.echo")
    keys = [headers["idempotency-key"] for headers in fake.requests("POST", "/v1/jobs")]
    assert len(set(keys)) == 2


def test_a_lost_answer_makes_no_second_job(client: Client, fake: FakeYard) -> None:
    fake.fail("POST", "/v1/jobs", "lose", times=2)
    job = client.submit("test.echo", parameters={"value": 1})
    assert len(fake.yard.jobs) == 1
    assert job.id in fake.yard.jobs
    assert len({headers["idempotency-key"] for headers in fake.requests("POST", "/v1/jobs")}) == 1


def test_an_unclear_submit_names_its_key(client: Client, fake: FakeYard) -> None:
    fake.fail("POST", "/v1/jobs", "lose", times=99)
    with pytest.raises(errors.Unreachable) as caught:
        client.submit("test.echo")
    assert caught.value.sent
    assert caught.value.idempotency_key in fake.yard.keys


def test_a_post_without_a_key_is_sent_once(client: Client, fake: FakeYard) -> None:
    fake.fail("POST", "/v1/tenants", "lose", times=99)
    with pytest.raises(errors.Unreachable):
        client.request("POST", "/v1/tenants", body={"name": "x"}, safe=False)
    assert len(fake.requests("POST", "/v1/tenants")) == 1


@pytest.mark.parametrize(("status", "code"), [(503, "unavailable"), (429, "rate_limited"), (502, "bad_gateway")])
def test_passing_refusals_are_tried_again(client: Client, fake: FakeYard, status: int, code: str) -> None:
    fake.fail("GET", "/v1/system", "status", times=2, status=status, code=code, headers={"Retry-After": "0"})
    assert client.system()["status"] == "ok"
    assert len(fake.requests("GET", "/v1/system")) == 3


@pytest.mark.parametrize("code", ["queue_full", "validation_failed", "forbidden"])
def test_lasting_refusals_are_not(client: Client, fake: FakeYard, code: str) -> None:
    status = {"queue_full": 429, "validation_failed": 422, "forbidden": 403}[code]
    fake.fail("POST", "/v1/jobs", "status", times=9, status=status, code=code)
    with pytest.raises(errors.Refused) as caught:
        client.submit("test.echo")
    assert type(caught.value) is errors.BY_CODE[code]
    assert len(fake.requests("POST", "/v1/jobs")) == 1


@pytest.mark.parametrize("code", sorted(errors.BY_CODE))
def test_each_problem_code_has_its_error(client: Client, fake: FakeYard, code: str) -> None:
    fake.fail("GET", "/v1/system", "status", times=9, status=418, code=code)
    with pytest.raises(errors.BY_CODE[code]) as caught:
        client.system()
    assert (caught.value.code, caught.value.status) == (code, 418)


def test_an_unknown_code_is_still_a_refusal(client: Client, fake: FakeYard) -> None:
    fake.fail("GET", "/v1/system", "status", times=9, status=418, code="brand_new")
    with pytest.raises(errors.Refused) as caught:
        client.system()
    assert caught.value.code == "brand_new"


def test_waiting_ends_by_itself_when_the_job_does(client: Client, fake: FakeYard) -> None:
    job = client.submit("test.sleep")
    timer = threading.Timer(0.3, fake.yard.end, (job.id, "succeeded"), {"value": 7})
    timer.start()
    assert job.wait(timeout=5).result().value == 7
    timer.join()


def test_waiting_has_a_limit(client: Client) -> None:
    job = client.submit("test.sleep")
    with pytest.raises(TimeoutError) as caught:
        job.wait(timeout=0.3)
    assert job.id in str(caught.value)
    with pytest.raises(errors.JobNotFinished):
        job.result()


def test_waiting_survives_a_server_that_is_away(client: Client, fake: FakeYard) -> None:
    job = client.submit("test.sleep")
    fake.stop()

    def back() -> None:
        fake.start()
        fake.yard.end(job.id, "succeeded")

    timer = threading.Timer(0.5, back)
    timer.start()
    assert job.wait(timeout=10).succeeded
    timer.join()


def test_cancel_retry_and_replay(client: Client) -> None:
    job = client.submit("test.sleep")
    with pytest.raises(errors.JobNotFinished):
        job.replay()
    assert job.cancel().state == "cancelled"
    with pytest.raises(errors.JobFinished):
        job.cancel()
    assert job.retry().id != job.id
    echoed = client.submit("test.echo", parameters={"value": 1}).replay(parameters={"value": 2})
    assert echoed.wait(timeout=5).result().value == 2


def test_lists_go_over_all_pages(client: Client) -> None:
    made = [client.submit("test.echo").id for _ in range(7)]
    assert [job.id for job in client.jobs.list(limit=3)] == made[::-1]
    assert [job.id for job in client.jobs.list(limit=3, max_items=4)] == made[:2:-1]
    assert list(client.jobs.list(state="failed")) == []


def test_a_page_that_repeats_itself_ends_the_list(client: Client, fake: FakeYard) -> None:
    page = {"data": [], "has_more": True, "next_cursor": "1"}
    fake.yard.canned["/v1/jobs"] = page
    with pytest.raises(errors.UnexpectedAnswer):
        list(client.jobs.list())


def test_something_else_on_the_port(client: Client, fake: FakeYard) -> None:
    fake.yard.canned["/v1/system"] = ["not", "an", "object"]
    with pytest.raises(errors.UnexpectedAnswer):
        client.system()


def test_a_redirect_is_not_followed(client: Client, fake: FakeYard) -> None:
    fake.fail("GET", "/v1/system", "status", times=9, status=307, code="x", headers={"Location": "http://evil.test/"})
    with pytest.raises(errors.UnexpectedAnswer, match=r"evil\.test"):
        client.system()


@pytest.mark.parametrize("job_id", ["", ".", "..", "a\x00b", "x" * 2000, "a\udc80"])
def test_an_id_that_can_be_none_is_refused_here(client: Client, fake: FakeYard, job_id: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.jobs.get(job_id)
    assert fake.yard.seen == []


def test_a_slash_in_an_id_leads_nowhere_else(client: Client) -> None:
    with pytest.raises(errors.NotFound):
        client.jobs.get("../system")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object(), {1: 2}])
def test_what_json_cannot_say_is_refused_here(client: Client, fake: FakeYard, value: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.submit("test.echo", parameters={"value": value})
    assert fake.yard.seen == []


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "a\nb"])
def test_bad_idempotency_keys(client: Client, key: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        client.submit("test.echo", idempotency_key=key)


async def _async_life(url: str, key: str, policy: Policy) -> tuple[Any, list[str], int]:
    async with AsyncClient(url, api_key=key, policy=policy) as client:
        job = await client.submit("test.echo", parameters={"value": 5})
        names = [event.name async for event in job.follow()]
        await job.wait(timeout=5)
        listed = [each async for each in client.jobs.list()]
        return (await job.result()).value, names, len(listed)


def test_the_async_client_does_the_same(fake: FakeYard, policy: Policy) -> None:
    value, names, listed = asyncio.run(_async_life(fake.url, fake.api_key, policy))
    assert (value, names[-1], listed) == (5, "stream.end", 1)


def test_a_key_of_the_environment_goes_only_to_its_own_server(fake: FakeYard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBYARD_URL", "http://elsewhere.test")
    monkeypatch.setenv("JOBYARD_API_KEY", "jy_secret")
    with Client(fake.url) as client, pytest.raises(errors.Unauthenticated):
        client.system()
    (headers,) = fake.requests("GET", "/v1/system")
    assert "authorization" not in headers


def test_many_submits_are_cut_into_requests_and_keep_their_places(client: Client, fake: FakeYard) -> None:
    fake.fail("POST", "/v1/job-batches", "lose", times=1)
    items = [{"tool": "test.echo" if n % 500 else "gone", "parameters": {"value": n}} for n in range(1_201)]
    found = client.submit_many(items)
    assert [item.index for item in found] == list(range(1_201))
    assert [item.index for item in found if not item.accepted] == [0, 500, 1000]
    assert found[0].problem is not None and found[0].problem["code"] == "unknown_tool"
    assert len(fake.yard.jobs) == 1_198, "the lost answer was asked for again, and made no second job"
    assert client.jobs.get(str(found[7].job_id)).document["parameters"] == {"value": 7}


def test_what_is_no_submit_is_said_before_anything_is_sent(client: Client, fake: FakeYard) -> None:
    with pytest.raises(errors.InvalidArgument, match="item 1"):
        client.submit_many([{"tool": "test.echo"}, {"parameters": {}}])
    assert fake.requests("POST", "/v1/job-batches") == []

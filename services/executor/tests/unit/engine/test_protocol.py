"""Epochs, ownership, births: the rules of the durability protocol, one by one (together: `tests/protocol`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobyard_executor.domain.birth import Born, born, contradicts, leaves_tombstone
from jobyard_executor.domain.epoch import (
    MAX_EPOCH,
    STRIDE,
    Sight,
    epoch_of_fence,
    epoch_of_incarnation,
    fence_of,
    hold_left,
    incarnation_of,
    look,
    next_added,
)
from jobyard_executor.domain.ownership import reconcile
from jobyard_executor.domain.session import LeaseTerms, may_start

TTL = timedelta(seconds=30)


@given(st.integers(1, MAX_EPOCH - 1), st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1))
def test_every_fence_of_an_epoch_is_below_those_of_the_next(epoch: int, one: int, other: int) -> None:
    assert fence_of(epoch, one) < fence_of(epoch + 1, other) < 2**63
    assert epoch_of_fence(fence_of(epoch, one)) == epoch


@given(st.integers(1, MAX_EPOCH), st.integers(0, 2**41))
def test_incarnations_are_exact_as_doubles(epoch: int, born_ms: int) -> None:
    found = incarnation_of(epoch, born_ms)
    assert int(float(found)) == found and epoch_of_incarnation(found) == epoch


def test_a_lower_epoch_is_never_used() -> None:
    assert look(None, 3) is Sight.FIRST
    assert [look(3, found) for found in (2, 3, 4)] == [Sight.STALE, Sight.SAME, Sight.NEWER]


def test_claims_wait_from_the_first_sight_of_a_new_epoch() -> None:
    assert hold_left(first_seen_ago=None, ttl=TTL) == timedelta()
    assert hold_left(first_seen_ago=timedelta(seconds=10), ttl=TTL) == timedelta(seconds=20)
    assert hold_left(first_seen_ago=timedelta(hours=1), ttl=TTL) == timedelta()


@given(st.integers(0, 200), st.integers(1, 50), st.integers(0, 500))
def test_a_recovery_goes_above_everything_and_leaves_room_for_failovers(added: int, timeline: int, above: int) -> None:
    epoch = timeline + next_added(added=added, timeline=timeline, above=above)
    assert epoch > max(above, timeline + added) and epoch % STRIDE == 0


def test_epochs_end_somewhere() -> None:
    with pytest.raises(ValueError, match="exact"):
        next_added(added=0, timeline=1, above=MAX_EPOCH)


@dataclass(frozen=True)
class Lease:
    job_id: str
    fence: int
    old: bool = True
    cancelling: bool = False


def test_worker_and_database_come_to_agree() -> None:
    held = {("gone", 1), ("fine", 1), ("silent", 1), ("still", 1), ("ended", 1), ("stop", 1)}
    leases = [Lease("fine", 1), Lease("silent", 1), Lease("still", 1), Lease("ended", 1), Lease("unknown", 4),
              Lease("young", 5, old=False), Lease("stop", 1, cancelling=True)]  # fmt: skip
    found = reconcile(
        leases,
        ours=held,
        held=held,
        settled={("ended", 1)},
        running={("fine", 1), ("gone", 1), ("stop", 1)},
        missing={("silent", 1)},
    )
    assert found.kill == {("gone", 1)}
    assert found.cancel == {("stop", 1)}
    assert found.hand_back == {("silent", 1), ("unknown", 4)}
    assert found.missing == {("still", 1)}


def test_what_was_claimed_before_a_sleep_is_not_started() -> None:
    terms = LeaseTerms()
    until = terms.trusted_until(100.0)
    assert may_start(at=until - 1, trusted_until=until, claims_open=True)
    assert not may_start(at=until, trusted_until=until, claims_open=True)
    assert not may_start(at=until - 1, trusted_until=until, claims_open=False)


FACTS = ("tombstone", "superseded", "parent_failed", "past_deadline", "parents_pending", "early")


@given(st.fixed_dictionaries(dict.fromkeys(FACTS, st.booleans())), st.booleans())
def test_a_cancel_that_came_first_always_wins(facts: dict[str, bool], tool_known: bool) -> None:
    found = born(**facts, tool_known=tool_known)
    assert (found is Born.CANCELLED) == facts["tombstone"]


def test_only_a_cancel_of_an_unknown_job_leaves_a_tombstone() -> None:
    assert leaves_tombstone(cancel=True, exists=False)
    assert not leaves_tombstone(cancel=True, exists=True)
    assert not leaves_tombstone(cancel=False, exists=False)


def test_a_key_binds_as_long_as_it_is_remembered() -> None:
    assert contradicts("a", "b")
    assert not contradicts("a", "a") and not contradicts(None, "b")

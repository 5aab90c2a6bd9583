"""Limits: windows that slide, tiers, and what the switch turns off."""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress import limits
from ingress.authentication import Principal, permissions_of
from ingress.limits import DAY_SECONDS, SLOTS, Limits, SlidingWindow, check_imports
from sluice.clock import FakeClock
from sluice.errors import RateLimited
from sluice.settings import Settings


def principal(tier: str) -> Principal:
    """An admin of an organization of this tier."""
    return Principal(uuid.uuid4(), uuid.uuid4(), "admin", permissions_of("admin"), tier)


def settings(**changes: Any) -> Settings:
    """Settings of which only the limits matter."""
    secret = {"jwt_secret": "s" * 32, "identity_hash_key": "0" * 64}
    return Settings(
        database_url="x",
        sink_database_url="x",
        kafka_bootstrap_servers="x",
        schema_registry_url="x",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        s3_bucket_name="x",
        **(secret | changes),
    )


@pytest.mark.requirement("S0-009", "K-16")
def test_the_call_after_the_limit_waits_until_a_part_of_the_window_is_over() -> None:
    """The answer says when; at that moment it goes on."""
    clock = FakeClock()
    window = SlidingWindow(3600, clock)
    for _ in range(3):
        window.take("a", 3)
    with pytest.raises(RateLimited, match=r"^Rate limit exceeded\. Please try again later\.$") as refused:
        window.take("a", 3)
    window.take("b", 3)

    clock.advance(refused.value.facts["retry_after_seconds"])
    window.take("a", 3)


@pytest.mark.requirement("S0-009", "K-16")
@given(st.lists(st.floats(0, 40), max_size=120), st.integers(1, 10))
def test_no_window_ever_holds_more_than_the_limit(pauses: list[float], limit: int) -> None:
    """Whatever the rhythm: at most `limit` calls in any 60 seconds, and a refusal's time is always enough."""
    clock = FakeClock()
    window = SlidingWindow(60, clock)
    taken: list[float] = []
    for pause in pauses:
        clock.advance(pause)
        try:
            window.take("a", limit)
        except RateLimited as refused:
            later = copy.deepcopy(window)
            later._clock.advance(refused.facts["retry_after_seconds"])  # type: ignore[attr-defined]
            later.take("a", limit)
            continue
        taken.append(clock.monotonic())
        assert sum(clock.monotonic() - at < 60 for at in taken) <= limit


def test_a_window_remembers_few_numbers() -> None:
    """A million calls are sixty numbers, and callers beyond the bound are forgotten, the quietest first."""
    clock = FakeClock()
    window = SlidingWindow(600, clock)
    for _ in range(1000):
        window.take("a", 1_000_000)
        clock.advance(1)
    assert len(window._keys["a"].slots) <= SLOTS + 1


def test_callers_beyond_the_bound_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with many addresses costs no more memory than the bound."""
    monkeypatch.setattr(limits, "MAX_KEYS", 10)
    window = SlidingWindow(60, FakeClock())
    for address in range(100):
        window.take(address, 1)
    assert list(window._keys) == list(range(90, 100))


@pytest.mark.requirement("K-16")
@pytest.mark.parametrize(("tier", "allowed"), [("free", 5), ("pro", 50), ("enterprise", 10_000)])
def test_imports_a_day_follow_the_tier(tier: str, allowed: int) -> None:
    """The one behind the last is refused until the oldest is a day old."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    oldest = now - timedelta(hours=20)
    check_imports(tier, allowed - 1, oldest, now)
    if tier == "enterprise":
        check_imports(tier, allowed, oldest, now)
        return
    with pytest.raises(RateLimited) as refused:
        check_imports(tier, allowed, oldest, now)
    assert refused.value.facts["retry_after_seconds"] == 4 * 3600


@pytest.mark.requirement("K-16")
def test_the_switch_turns_off_the_optional_limit_only() -> None:
    """Uploads and analyses an hour are optional; the tier's calls and the unauthenticated ones are not."""
    clock = FakeClock()
    caller = principal("free")
    on, off = Limits(settings(), clock), Limits(settings(enable_rate_limiting=False, rate_limit_max=2), clock)
    for _ in range(10):
        for count in (on.upload, on.analysis, off.upload, off.analysis):
            count(caller)
    for count in (on.upload, on.analysis):
        with pytest.raises(RateLimited):
            count(caller)
        count(principal("pro"))
    off.upload(caller)
    off.analysis(caller)

    for _ in range(2):
        off.unauthenticated("10.0.0.1")
    with pytest.raises(RateLimited):
        off.unauthenticated("10.0.0.1")
    for _ in range(10_000):
        off.call(caller)
    with pytest.raises(RateLimited) as refused:
        off.call(caller)
    assert 0 < refused.value.facts["retry_after_seconds"] <= DAY_SECONDS + DAY_SECONDS / SLOTS + 1

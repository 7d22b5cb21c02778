"""How those who try passwords are slowed down."""

from __future__ import annotations

import pytest

from rapidflow_web.accounts import throttle
from rapidflow_web.accounts.throttle import SITE, Key, Throttle


class _Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(throttle, "time", made)
    return made


def test_a_few_failures_cost_nothing_and_each_further_one_twice_as_much(clock: _Clock) -> None:
    slow = Throttle()
    waits: list[float] = []
    for _ in range(16):
        waits.append(slow.wait([Key("name", "anna")]))
        clock.now += waits[-1]
        slow.failed([Key("name", "anna"), Key("address", "1")])
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_either_key_makes_one_wait_and_only_those_who_failed(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(6):
        slow.failed([Key("name", "anna"), Key("address", "1")])
    assert slow.wait([Key("name", "anna"), Key("address", "2")]) == 2
    assert slow.wait([Key("name", "bob"), Key("address", "1")]) == 2
    assert slow.wait([Key("name", "bob"), Key("address", "2")]) == 0


def test_thousands_of_failures_cost_the_longest_wait(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(3_000):
        slow.failed([Key("address", "1")])
    assert slow.wait([Key("address", "1")]) == 300


def test_a_failure_that_was_none_is_taken_back_and_those_of_others_stay(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(7):
        slow.failed([Key("address", "1")])
    for _ in range(20):
        slow.failed([Key("address", "1")])
        slow.take_back([Key("address", "1")])
    assert slow.wait([Key("address", "1")]) == 4
    slow.take_back([Key("address", "1"), Key("address", "2")] * 100)
    assert slow.wait([Key("address", "1")]) == 0


def test_a_login_does_not_make_the_next_user_wait_anew(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(20):
        slow.failed([Key("address", "1")])
    clock.now += 300
    for _ in range(3):
        assert slow.wait([Key("address", "1")]) == 0
        slow.failed([Key("address", "1")])
        slow.take_back([Key("address", "1")])
    clock.now += 1
    slow.failed([Key("address", "1")])
    assert slow.wait([Key("address", "1")]) == 300


def test_it_is_forgotten_by_time_and_by_success(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(9):
        slow.failed([Key("name", "anna"), Key("name", "bob")])
    slow.forget(Key("name", "anna"))
    assert slow.wait([Key("name", "anna")]) == 0
    clock.now += 901
    assert slow.wait([Key("name", "bob")]) == 0
    slow.failed([Key("name", "bob")])
    assert slow.wait([Key("name", "bob")]) == 0


def test_it_remembers_only_so_many(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_MOST", 100)
    slow = Throttle()
    for number in range(1000):
        for _ in range(6):
            slow.failed([Key("name", f"{number}")])
    assert slow.wait([Key("name", "0")]) == 0
    assert slow.wait([Key("name", "999")]) > 0
    assert len(slow._failures["name"]) == 100


def test_keys_of_one_kind_push_out_none_of_another(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_MOST", 100)
    slow = Throttle()
    for _ in range(6):
        slow.failed([Key("user", "anna")])
    for number in range(1000):
        slow.failed([Key("stranger", f"{number}"), Key("client", f"{number}")])
    assert slow.wait([Key("user", "anna")]) > 0


def test_a_site_may_fail_more_often_than_a_client(clock: _Clock) -> None:
    slow = Throttle()
    for number in range(20):
        assert slow.wait([Key(SITE, "1")]) == 0, number
        slow.failed([Key(SITE, "1")])
    assert slow.wait([Key(SITE, "1")]) == 1

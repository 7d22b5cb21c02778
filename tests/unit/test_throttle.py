"""How those who try passwords are slowed down."""

from __future__ import annotations

import pytest

from rapidflow_web.accounts import throttle
from rapidflow_web.accounts.throttle import Throttle


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
        waits.append(slow.wait(["name anna"]))
        clock.now += waits[-1]
        slow.failed(["name anna", "address 1"])
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_either_key_makes_one_wait_and_only_those_who_failed(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(6):
        slow.failed(["name anna", "address 1"])
    assert slow.wait(["name anna", "address 2"]) == slow.wait(["name bob", "address 1"]) == 2
    assert slow.wait(["name bob", "address 2"]) == 0


def test_thousands_of_failures_cost_the_longest_wait(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(3_000):
        slow.failed(["address 1"])
    assert slow.wait(["address 1"]) == 300


def test_a_failure_that_was_none_is_taken_back_and_those_of_others_stay(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(7):
        slow.failed(["address 1"])
    for _ in range(20):
        slow.failed(["address 1"])
        slow.take_back(["address 1"])
    assert slow.wait(["address 1"]) == 4
    slow.take_back(["address 1", "address 2"] * 100)
    assert slow.wait(["address 1"]) == 0
    assert not slow._failures


def test_a_login_does_not_make_the_next_user_wait_anew(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(20):
        slow.failed(["address 1"])
    clock.now += 300
    for _ in range(3):
        assert slow.wait(["address 1"]) == 0
        slow.failed(["address 1"])
        slow.take_back(["address 1"])
    clock.now += 1
    slow.failed(["address 1"])
    assert slow.wait(["address 1"]) == 300


def test_it_is_forgotten_by_time_and_by_success(clock: _Clock) -> None:
    slow = Throttle()
    for _ in range(9):
        slow.failed(["name anna", "name bob"])
    slow.forget("name anna")
    assert slow.wait(["name anna"]) == 0
    clock.now += 901
    assert slow.wait(["name bob"]) == 0
    slow.failed(["name bob"])
    assert slow.wait(["name bob"]) == 0


def test_it_remembers_only_so_many(clock: _Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_MOST", 100)
    slow = Throttle()
    for number in range(1000):
        for _ in range(6):
            slow.failed([f"name {number}"])
    assert slow.wait(["name 0"]) == 0
    assert slow.wait(["name 999"]) > 0
    assert len(slow._failures) == 100

"""Which machine gets a build, and what is said where none does."""

from __future__ import annotations

import pytest

from rapidflow_web.executors.cluster.placement import NodeState, choose, reason, slots_of

IMAGE = "debian:bookworm"


def node(name: str, slots: int = 4, problem: str | None = None, images: str = "", **labels: str) -> NodeState:
    return NodeState(name, name, labels, slots, problem, problem is None, images=frozenset(images.split()))


def chosen(nodes: list[NodeState], taken: dict[str, int], image: str | None = None, **wanted: str):
    found = choose(nodes, taken, wanted, image)
    return found and found.name


def test_the_least_loaded_machine_gets_the_build():
    nodes = [node("a", 8), node("b", 2)]
    assert chosen(nodes, {}) == "a"
    assert chosen(nodes, {"a": 4}) == "b"
    assert chosen(nodes, {"a": 4, "b": 1}) == "a"
    assert chosen(nodes, {"a": 7, "b": 2}) == "a"
    assert chosen(nodes, {"a": 8, "b": 2}) is None


def test_only_machines_with_all_labels_fit():
    nodes = [node("a", gpu="yes"), node("b", gpu="yes", zone="x"), node("c", zone="x")]
    assert chosen(nodes, {"b": 3}, gpu="yes", zone="x") == "b"
    assert chosen(nodes, {}, gpu="no") is None


def test_a_machine_with_the_image_is_taken_unless_it_is_much_fuller():
    nodes = [node("a"), node("b", images=f"{IMAGE} tools:latest")]
    assert chosen(nodes, {"b": 1}, IMAGE) == "b"
    assert chosen(nodes, {"b": 1}, "tools") == "b"
    assert chosen(nodes, {"b": 3}, IMAGE) == "a"
    assert chosen(nodes, {"b": 1}, "other") == "a"
    assert chosen(nodes, {"b": 1}) == "a"


def test_builds_begin_only_where_they_may():
    nodes = [node("a", problem="is drained"), node("b", problem="can't be reached: no route"), node("c", 0)]
    assert chosen(nodes, {}) is None


@pytest.mark.parametrize(
    ("nodes", "taken", "wanted", "expected"),
    [
        ([], {}, {}, "there are no nodes"),
        ([node("a")], {}, {}, None),
        ([node("a")], {}, {"gpu": "yes"}, "no node has label gpu=yes"),
        ([node("a")], {}, {"gpu": "yes", "arch": "arm64"}, "no node has labels arch=arm64, gpu=yes"),
        ([node("a"), node("b", 8)], {"a": 4, "b": 8}, {}, "12 of 12 slots are taken"),
        # A build that was taken up again where there are fewer slots now.
        ([node("a")], {"a": 6}, {}, "4 of 4 slots are taken"),
        (
            [node("a"), node("b", 2, gpu="yes")],
            {"b": 2},
            {"gpu": "yes"},
            "2 of 2 slots of nodes with label gpu=yes are taken",
        ),
        (
            [node("a"), node("b", problem="is drained", gpu="yes")],
            {},
            {"gpu": "yes"},
            "no node with label gpu=yes takes builds: b is drained",
        ),
        (
            [node(name, problem="is drained") for name in "abcde"],
            {},
            {},
            "no node takes builds: a is drained; b is drained; c is drained and 2 more",
        ),
    ],
)
def test_a_build_that_fits_nowhere_is_told_why(
    nodes: list[NodeState], taken: dict[str, int], wanted: dict[str, str], expected: str | None
):
    assert reason(nodes, taken, wanted) == expected


@pytest.mark.parametrize(
    ("label", "said", "expected"),
    [
        (None, None, 5),
        (None, 3, 3),
        ("2", 3, 2),
        ("0", 3, 0),
        ("many", 3, 3),
        ("-1", None, 5),
        ("9" * 12, 3, 3),
    ],
)
def test_slots_are_those_of_the_label_else_of_the_inventory_else_of_the_settings(
    label: str | None, said: int | None, expected: int
):
    assert slots_of({} if label is None else {"rapidflow.slots": label}, said, 5) == expected

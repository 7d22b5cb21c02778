"""How the jobs of a build stand in its graph, and which parts were on its critical path."""

from __future__ import annotations

import re

from rapidflow_web.db.parts import PartRow
from rapidflow_web.pages.part_graph import graph
from rapidflow_web.pages.parts import Overview, PartView, arranged


def part(name: str, needs: str = "", span: tuple[int, int] | None = None, state: str = "success") -> PartView:
    row = PartRow(0, name, tuple(needs.split()), state, job_id=1)
    began, ended = span or (None, None)
    return PartView(row, 1, state, None, began, ended)


def built(*parts: PartView) -> Overview:
    return arranged(parts, 0, ended=True)


def columns(*parts: PartView) -> list[list[str]]:
    return [[job.name for job in column if job] for column in graph(built(*parts).jobs).columns]


def lanes(*parts: PartView) -> list[list[str]]:
    return [[job.name if job else "" for job in column] for column in graph(built(*parts).jobs).columns]


def crossed(*parts: PartView) -> list[str]:
    """The jobs behind whose nodes a line passes."""
    found = graph(built(*parts).jobs)
    rows = max(map(len, found.columns))
    heights = {
        (at, ((rows - len(column)) / 2 + place + 0.5) * 100): job.name
        for at, column in enumerate(found.columns)
        for place, job in enumerate(column)
        if job
    }
    behind: list[str] = []
    for path in re.findall(r'd="(.*?)"', found.lines):
        begin, *bends = path.removeprefix("M").split("H")
        x, y = map(float, begin.split())
        for bend in bends:
            straight, curve = bend.split("C")
            behind += [
                job
                for (at, height), job in heights.items()
                if height == y and x <= at * 100 < float(straight)
            ]
            x, y = map(float, curve.split()[-2:])
    return behind


def lines(*parts: PartView) -> int:
    return len(re.findall("<path", graph(built(*parts).jobs).lines))


def test_each_job_stands_right_of_what_it_needs() -> None:
    assert columns(part("d", "b c"), part("a"), part("b", "a"), part("c"), part("e", "a d")) == [
        ["a", "c"],
        ["b"],
        ["d"],
        ["e"],
    ]


def test_jobs_stand_beside_what_they_need() -> None:
    assert columns(part("a"), part("b"), part("x", "b"), part("y", "a"))[1] == ["y", "x"]


def test_no_line_passes_behind_a_job_that_it_does_not_lead_to() -> None:
    build = (
        part("lint"),
        part("test", "lint"),
        part("docs"),
        part("flaky", "lint"),
        part("deploy", "test docs"),
        part("report", "test"),
    )
    assert crossed(*build) == []
    assert sorted(lanes(*build)[1]) == ["", "flaky", "test"]


def test_lines_of_a_job_share_their_place() -> None:
    build = (part("a"), part("b", "a"), part("c"), part("d", "b c"), part("e", "b c"), part("f", "d c e"))
    assert [len(column) for column in lanes(*build)] == [2, 2, 2, 1]
    assert crossed(*build) == []


def test_lines_with_one_way_past_many_columns_draw_it_once() -> None:
    many = 30
    first = [part(f"a{number}") for number in range(many)]
    chain = [part(f"b{number}", f"b{number - 1}" if number else "") for number in range(many)]
    needed = " ".join([one.row.name for one in first] + [f"b{many - 1}"])
    last = [part(f"c{number}", needed) for number in range(many)]
    found = graph(built(*first, *chain, *last).jobs)
    assert found.lines.count("<path") == many * many + 2 * many - 1
    assert found.lines.count("C") < 2 * many * many + 2 * many


def test_what_another_need_waits_for_has_no_line_of_its_own() -> None:
    assert lines(part("a"), part("b", "a"), part("c", "a b")) == 2
    assert lines(part("a"), part("b", "a"), part("c", "b"), part("d", "c a b")) == 3
    assert lines(part("a"), part("b"), part("c", "a b")) == 2


def test_a_matrix_is_one_node_with_counts() -> None:
    (job,) = built(part("test (n=1)"), part("test (n=2)", state="failed"), part("test (n=3)")).jobs
    assert (job.name, job.folded, job.state) == ("test", True, "failed")
    assert job.counts == [("failed", 1), ("success", 2)]
    assert [one.cell for one in job.shown_first] == ["n=2", "n=1", "n=3"]


def test_the_critical_path_goes_through_what_ended_last() -> None:
    found = built(
        part("a", span=(0, 10)),
        part("b (n=1)", "a", (10, 30)),
        part("b (n=2)", "a", (12, 20)),
        part("c", span=(0, 25)),
        part("d", "b c", (33, 40)),
        part("e", "c", (25, 39)),
    )
    assert [one.row.name for one in found.path] == ["a", "b (n=1)", "d"]
    assert found.path[-1].waited == 3
    assert [job.critical for job in found.jobs] == [True, True, False, True, False]


def test_what_never_ran_is_on_no_path() -> None:
    found = built(part("a", span=(0, 5)), part("b", "a", state="skipped"))
    assert [one.row.name for one in found.path] == ["a"]
    assert built(part("a", state="skipped")).path == ()
    assert arranged([part("a", span=(0, 5))], 0, ended=False).path == ()


def test_the_part_that_failed_first_has_its_log_open() -> None:
    found = built(part("a", span=(0, 9), state="failed"), part("b", span=(0, 5), state="failed"))
    assert found.failed is not None and found.failed.row.name == "b"
    assert found.failures == 2

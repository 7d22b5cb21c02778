"""Pipelines of several jobs: what their keys mean, and what is said of what they can't mean."""

from __future__ import annotations

import pytest

from rapidflow_web.builds import part_rules
from rapidflow_web.db.parts import Attempt, PartRow
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline import conditions, matrix
from rapidflow_web.pipeline.definition import AllowFailure, JobDefinition, ParsedPipeline, Retry
from rapidflow_web.pipeline.parser import parse


def of_jobs(jobs: str, top: str = "") -> ParsedPipeline:
    return parse(f"name: x\n{top}jobs:\n{jobs}")


def refused(jobs: str, top: str = "") -> str:
    with pytest.raises(Invalid) as raised:
        of_jobs(jobs, top)
    return str(raised.value)


@pytest.mark.parametrize(
    ("axes", "include", "exclude", "expected"),
    [
        ({"a": "12"}, [], [], ["a=1", "a=2"]),
        ({"a": "12", "b": "xy"}, [], [{"a": "1", "b": "y"}], ["a=1, b=x", "a=2, b=x", "a=2, b=y"]),
        ({"a": "12"}, [{"a": "2", "c": "z"}], [], ["a=1", "a=2, c=z"]),
        ({"a": "12"}, [{"c": "z"}], [], ["a=1, c=z", "a=2, c=z"]),
        ({"a": "12"}, [{"a": "3"}], [], ["a=1", "a=2", "a=3"]),
        (
            {"a": "12"},
            [{"a": "3", "c": "z"}, {"a": "3", "c": "y"}],
            [],
            ["a=1", "a=2", "a=3, c=z", "a=3, c=y"],
        ),
        # What was excluded can come back, as a combination of its own.
        ({"a": "12"}, [{"a": "2"}], [{"a": "2"}], ["a=1", "a=2"]),
        ({"a": "1"}, [{"c": "x"}, {"c": "y"}], [], ["a=1, c=y"]),
        ({}, [{"a": "1"}, {"b": "2"}], [], ["a=1", "b=2"]),
    ],
)
def test_a_matrix_has_these_combinations(
    axes: dict[str, str],
    include: list[dict[str, str]],
    exclude: list[dict[str, str]],
    expected: list[str],
) -> None:
    found = matrix.cells({name: list(values) for name, values in axes.items()}, include, exclude)
    assert [matrix.name_of("test", cell) for cell in found] == [f"test ({one})" for one in expected]


def test_a_job_runs_on_the_machines_of_its_own_labels_or_of_those_of_the_pipeline() -> None:
    parsed = parse(
        "name: x\non_node: {gpu: no}\njobs:\n"
        "  a: {matrix: {arch: [arm64, amd64]}, on_node: {arch: '${{ matrix.arch }}'}, steps: [x]}\n"
        "  b: {on_node: {}, steps: [x]}\n"
        "  c: {steps: [x]}\n"
    )
    assert [part.build.on_node for part in parsed.parts] == [
        {"arch": "arm64"}, {"arch": "amd64"}, {}, {"gpu": "no"},
    ]  # fmt: skip


def test_a_matrix_has_at_most_256_combinations() -> None:
    def text(count: int) -> str:
        values = ", ".join(str(number) for number in range(count // 2))
        return f"  a:\n    matrix: {{n: [{values}], m: [1, 2]}}\n    steps: ['true']\n"

    assert len(of_jobs(text(256)).parts) == 256
    assert "line 4, column 13: the matrix has 258 combinations; at most 256" in refused(text(258))
    many = ", ".join(str(number) for number in range(200))
    every = f"  a:\n    matrix: {{a: [{many}], b: [{many}], c: [{many}]}}\n    steps: ['true']\n"
    assert "the matrix has 8000000 combinations" in refused(every)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("branch == 'main'", True),
        ("branch != 'main'", False),
        ("tag == null", True),
        ("tag == ''", False),
        ("tag != 'v1'", True),
        ("branch", True),
        ("tag", False),
        ("!tag", True),
        ("branch == 'x' || branch == 'main' && event == 'push'", True),
        ("(branch == 'x' || branch == 'main') && event == 'tag'", False),
        ("success()", True),
        ("failure()", False),
        ("always() && branch == 'x'", False),
        ("contains(branch, 'ai') && starts_with(ref, 'refs/heads/')", True),
        ("starts_with(tag, 'v')", False),
        ("matrix.go == '1.21'", True),
        ("matrix.go-x == null", True),
        ("${{ branch == 'main' }}", True),
        ("true", True),
        ("false", False),
        ("!(branch == 'main')", False),
    ],
)
def test_a_condition(text: str, expected: bool) -> None:
    values = {"branch": "main", "event": "push", "ref": "refs/heads/main", "tag": None, "matrix.go": "1.21"}
    condition = conditions.parse(text, frozenset(("go", "go-x")))
    assert condition.fits(values, failed=False) is expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'if' ends where a value should be"),
        ("branch =", "'if' at '=': this is not understood"),
        ("branch == main", "the unknown name 'main'"),
        ('branch == "main"', "put text between single quotes"),
        ("branch == 'main", "put text between single quotes"),
        ("brnch == 'main'", "did you mean 'branch'?"),
        ("success", "'success' is a function; write success()"),
        ("fail()", "unknown function 'fail'"),
        ("matrix.os == 'a'", "the matrix has no 'os'"),
        ("branch == 'a' branch", "where && or || should be"),
        ("(branch", "'if' lacks a ')'"),
        ("&&", "'if' has '&&' where a value should be"),
        ("!" * 30 + "branch", "nested more than 20 levels deep"),
        ("a" * 1001, "at most 1000 are taken"),
    ],
)
def test_what_is_no_condition(text: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        conditions.parse(text, frozenset(("go",)))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ("  a b: {steps: [x]}\n", "line 3, column 3: 'a b' can't name a job"),
        ("  a: {}\n", "the job 'a' needs 'steps'"),
        ("  []\n", "'jobs' must be a mapping"),
        ("  {}\n", "'jobs' needs at least one job"),
        ("  a: {stpes: [x]}\n", "unknown key 'stpes', did you mean 'steps'?"),
        ("  a: {steps: [x], needs: [b, b]}\n  b: {steps: [x]}\n", "'b' is there twice in 'needs'"),
        ("  a: {steps: [x], needs: bee}\n  beer: {steps: [x]}\n", "no job 'bee', did you mean 'beer'?"),
        (
            "  a: {steps: [x], needs: c}\n  b: {steps: [x], needs: a}\n  c: {steps: [x], needs: b}\n",
            "these jobs wait for each other: a -> c -> b -> a",
        ),
        ("  a: {steps: [x], matrix: {n: [1, 1]}}\n", "'1' is there twice in 'n'"),
        ("  a: {steps: [x], matrix: {n: [[1]]}}\n", "must be text, not a list"),
        ("  a: {steps: [x], matrix: {n: [~]}}\n", "and nothing is there"),
        (
            "  a: {steps: [x], matrix: {include: [{a: '1, b=2'}, {a: 1, b: 2}]}}\n",
            "two combinations have the name 'a (a=1, b=2)'",
        ),
        ("  a: {steps: [x], matrix: {}}\n", "the matrix has no combination left"),
        ("  a: {steps: ['${{ matrix.x }}']}\n", "the matrix has no 'x'"),
        ("  a: {steps: ['${{ matrix.n'], matrix: {n: [1]}}\n", "'${{' needs a name"),
        ("  a: {steps: [x], retry: {exit_codes: [75]}}\n", "'retry' needs 'max'"),
        ("  a: {steps: [x], retry: 11}\n", "'retry' can't be '11'; use a number from 1 to 10"),
        ("  a: {steps: [x], retry: {max: 1, when: [bad_luck]}}\n", "'when' can't be 'bad_luck'"),
        ("  a: {steps: [x], allow_failure: {exit_codes: [0]}}\n", "an exit code can't be '0'"),
        ("  a: {steps: [x], priority: high}\n", "'priority' can't be 'high'"),
        ("  a: {steps: [x], max_parallel: 0}\n", "'max_parallel' can't be '0'"),
        ("  a: {steps: [x], concurrency: {group: g, when_busy: cancel}}\n", "leave 'when_busy' out"),
        ("  a: {steps: [x], approval: maybe}\n", "'approval' must be true or false"),
        ("  a: {steps: [x], services: {DB: {image: a}}}\n", "'DB' can't name a service"),
        ("  a: {steps: [x], services: {db: {}}}\n", "the service 'db' needs an 'image'"),
        ("  a: {steps: [x], services: {db: {image: a, ports: [0]}}}\n", "a port can't be '0'"),
        ("  a: {steps: [x], notify: []}\n", "unknown key 'notify'"),
    ],
)
def test_what_is_refused(jobs: str, said: str) -> None:
    assert said in refused(jobs)


def test_a_job_has_the_defaults_of_the_pipeline() -> None:
    parsed = of_jobs(
        """\
  a: {steps: [x]}
  b: {steps: [x], image: other, env: {B: '3'}, timeout: 5m, secrets: [OTHER], post: [clean], network: none}
""",
        "image: base\nenv: {A: '1', B: '2'}\nsecrets: [TOKEN]\ntimeout: 10m\nmemory: 1g\npost: [always]\n",
    )
    a, b = (part.build for part in parsed.parts)
    assert (a.image, a.env, a.secrets, a.limits.timeout, a.network) == (
        "base", {"A": "1", "B": "2"}, ("TOKEN",), 600, True,
    )  # fmt: skip
    assert (b.image, b.env, b.secrets, b.limits.timeout, b.network) == (
        "other", {"A": "1", "B": "3"}, ("OTHER",), 300, False,
    )  # fmt: skip
    assert b.limits.memory == a.limits.memory == 1024**3
    assert [(step.content, step.post) for step in a.steps] == [("x", False), ("always", True)]
    assert [(step.content, step.post) for step in b.steps] == [("x", False), ("clean", True)]
    assert parsed.combined.secrets == ("TOKEN", "OTHER")


def test_a_definition_in_a_repository_takes_no_more_rights_in_its_jobs() -> None:
    from rapidflow_web.pipeline.parser import parse_in_repository

    with pytest.raises(Invalid) as raised:
        parse_in_repository("name: x\njobs:\n  a: {steps: [x], new_privileges: true}\n")
    assert "line 3, column 35: a definition in a repository can't set 'new_privileges'" in str(raised.value)


def test_steps_beside_jobs_are_refused() -> None:
    assert "move 'steps' into a job" in refused("  a: {steps: [x]}\n", "steps: [x]\n")


def test_what_would_take_long_to_read_is_refused() -> None:
    steps = "".join(f"      - echo {number}\n" for number in range(100))
    values = ", ".join(str(number) for number in range(256))
    said = refused(f"  a:\n    matrix: {{n: [{values}]}}\n    steps:\n{steps}")
    assert "with all combinations of matrices the jobs have more than" in said


def _exited(code: int) -> Attempt:
    return Attempt(1, "failed", f"step 1 (bash) exited with {code}", None, code, 1, 2, None)


@pytest.mark.parametrize(
    ("attempt", "retry", "allowed", "expected"),
    [
        (Attempt(1, "success", None, None, None, 1, 2, None), None, None, "success"),
        (_exited(1), None, None, "failed"),
        (_exited(1), Retry(1), None, "waiting"),
        (_exited(75), Retry(1, (75,)), None, "waiting"),
        (_exited(1), Retry(1, (75,)), None, "failed"),
        (Attempt(1, "failed", "e", "engine_lost", None, 1, 2, None), Retry(1, (75,)), None, "failed"),
        (
            Attempt(1, "failed", "e", "engine_lost", None, 1, 2, None),
            Retry(1, (75,), ("engine_lost",)),
            None,
            "waiting",
        ),
        (_exited(42), None, AllowFailure((42,)), "forgiven"),
        (_exited(137), None, AllowFailure((42,)), "failed"),
        (Attempt(1, "failed", "e", "timeout", None, 1, 2, None), None, AllowFailure(), "failed"),
        # The code is that of a step which the server ended.
        (Attempt(1, "failed", "it printed too much", None, 143, 1, 2, None), None, AllowFailure(), "failed"),
        (Attempt(1, "cancelled", None, None, None, 1, 2, None), Retry(1), AllowFailure(), "cancelled"),
        (None, Retry(1), AllowFailure(), "failed"),
    ],
)
def test_what_the_end_of_an_attempt_means(
    attempt: Attempt | None, retry: Retry | None, allowed: AllowFailure | None, expected: str
) -> None:
    job = JobDefinition("a", (), retry=retry, allow_failure=allowed)
    row = PartRow(1, "a", job_id=1, state="running")
    assert part_rules.follow(row, job, attempt, None).state == expected
    # What the server ends itself does not run again.
    assert part_rules.follow(row, job, attempt, "the build was cancelled").state != "waiting"

"""What a build may use: in the pipeline, by default, at the most."""

from __future__ import annotations

import pytest

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.limits import FORMATS, NO_LIMITS, PARSERS, Limits
from rapidflow_web.pipeline.parser import parse

PIPELINE = """\
name: x
steps: [ls]
timeout: 5m
silence_timeout: 30s
memory: 2g
shm: 1g
cpus: 1.5
processes: 100
log_limit: 10m
"""
SAID = Limits(
    timeout=300,
    silence_timeout=30,
    memory=2 * 1024**3,
    shm=1024**3,
    cpus=1.5,
    processes=100,
    log_limit=10 * 1024**2,
)


def test_a_pipeline_says_its_limits():
    assert parse(PIPELINE).limits == SAID


def test_what_a_pipeline_does_not_say_is_as_by_default():
    default = Limits(timeout=60, memory=1024**3)
    assert NO_LIMITS.completed(default, NO_LIMITS) == default
    assert SAID.completed(default, NO_LIMITS) == SAID


def test_no_limit_is_above_the_most():
    most = Limits(timeout=100, memory=1024**2, shm=1024**2, processes=1000)
    assert SAID.completed(NO_LIMITS, most) == Limits(
        timeout=100,
        silence_timeout=30,
        memory=1024**2,
        shm=1024**2,
        cpus=1.5,
        processes=100,
        log_limit=10 * 1024**2,
    )
    assert NO_LIMITS.completed(Limits(timeout=200), most) == most


def test_a_pipeline_that_wants_more_than_the_most_is_refused_at_the_place():
    with pytest.raises(Invalid) as error:
        parse(PIPELINE, most=Limits(timeout=600, silence_timeout=20, memory=1024**3, shm=1024**2, cpus=1))
    assert [problem.message for problem in error.value.problems] == [
        "line 4, column 18: 'silence_timeout' may be at most 20s on this server",
        "line 5, column 9: 'memory' may be at most 1g on this server",
        "line 6, column 6: 'shm' may be at most 1m on this server",
        "line 7, column 7: 'cpus' may be at most 1 on this server",
    ]


@pytest.mark.parametrize("name", PARSERS)
def test_a_limit_is_written_as_it_is_read(name: str):
    value = dict(SAID.items())[name]
    assert PARSERS[name](FORMATS[name](value)) == value

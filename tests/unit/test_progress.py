"""How far long work is: what git and the engine say of it, and what a person is told, some times a second."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.cli.meter import Meter
from rapidflow_web.executors.docker.pull_progress import PullProgress
from rapidflow_web.progress import ByteCount, Counted, Paced, Progress
from rapidflow_web.source import git_progress
from rapidflow_web.source.git_progress import Errors, GitProgress
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.workspace import check_out
from tests.support.repos import Repo

Told = list[tuple[str, float | None]]


@pytest.fixture
def told() -> Told:
    return []


def into(told: Told) -> Progress:
    """A progress that is kept."""
    return lambda detail, done=None: told.append((detail, done))


def test_some_are_dropped_and_the_first_never(told: Told) -> None:
    times: Iterator[float] = iter([0.0, 0.1, 0.2, 0.3, 0.3])
    paced = Paced(into(told), every=0.25, clock=lambda: next(times))
    for number in range(4):  # the clock is asked for each, and once more for what is passed on
        paced(str(number))
    assert [detail for detail, _ in told] == ["0", "3"]


@pytest.mark.parametrize(
    ("printed", "detail"),
    [
        (b"Receiving objects:  12% (128/1024), 1.20 MiB | 2.40 MiB/s\r", "receiving objects, 12 %, 1.20 MiB"),
        (b"remote: Counting objects: 100% (6/6), done.        \n", "counting objects, 100 %"),
        (b"Updating files:   9% (1/11)\rUpdating files:  18% (2/11)\r", "writing files, 18 %"),
        (b"Resolving deltas: 999% (1/1)\r", "resolving deltas, 100 %"),
        (b"remote: Sleeping beauties:  12% (1/8)\r", None),
        (b"Receiving objects:  12% (128/1024)", None),  # its end is not there yet
        (b"Receiving objects: \xd9\xa1% (1/8)\r", None),
        (b"fatal: Receiving objects:  12% (1/8)\r", None),
    ],
)
def test_what_git_says_is_read(told: Told, printed: bytes, detail: str | None) -> None:
    for chunks in ([printed], [printed[:9], printed[9:]], [bytes([byte]) for byte in printed]):
        told.clear()
        progress = GitProgress(into(told))
        for chunk in chunks:
            progress.feed(chunk)
        assert [one for one, _ in told][-1:] == ([detail] if detail else [])


def test_a_server_that_prints_without_end_costs_nothing_but_its_end(told: Told) -> None:
    progress = GitProgress(into(told))
    for _ in range(100):
        progress.feed(b"remote: Receiving objects: " * 2000)
    assert len(progress._rest) <= 1024  # pyright: ignore[reportPrivateUsage]
    progress.feed(b"\rReceiving objects:  50% (1/2)\r")
    progress.feed(b"Receiving objects:  51% (1/2)\r")  # and stands still
    assert [detail for detail, _ in told] == ["receiving objects, 50 %", "receiving objects, 51 %"]


def test_each_line_of_the_errors_of_git_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    listed, looked = git_progress._LISTED, 0  # pyright: ignore[reportPrivateUsage]

    class Counts:
        def sub(self, by: bytes, text: bytes) -> bytes:
            nonlocal looked
            looked += len(text)
            return listed.sub(by, text)

    monkeypatch.setattr(git_progress, "_LISTED", Counts())
    line, other = b"remote: " + b"x" * 91 + b"\n", b" * [new branch] branch-1 -> origin/branch-1\n"
    errors = Errors(64 * 1024, skips=True)
    for _ in range(2_000):
        errors.feed(line)
        errors.feed(other[:9])
        errors.feed(other[9:])
    errors.feed(b"fatal: no")
    assert looked == 2_000 * (len(line) + len(other))
    assert errors.end == (line * 2_000 + b"fatal: no")[-64 * 1024 :]


async def test_a_fetch_and_a_checkout_by_git_itself_tell_how_far_they_are(tmp_path: Path, told: Told) -> None:
    origin = Repo(tmp_path / "origin")
    origin.commit({f"file-{number}": os.urandom(1000) for number in range(200)})
    for number in range(50):
        origin.git("branch", f"branch-{number}")
    (tmp_path / "mirrors").mkdir()
    mirrors = Mirrors(tmp_path / "mirrors", [str(tmp_path)], timeout=60)
    source = await mirrors.fetch(origin.url, "main", progress=into(told))
    stages = {"counting objects", "compressing objects", "receiving objects", "resolving deltas"}
    # As many of them as come by themselves.
    assert told and {detail.partition(",")[0] for detail, _ in told} <= stages
    told.clear()
    await check_out(source, tmp_path / "tree", mirrors, into(told))
    assert told[-1] == ("writing files, 100 %", 1.0)
    # Two processes write its errors, in any order.
    origin.commit({"another": "x"})
    blob = origin.git("rev-parse", "HEAD:another")
    (origin.path / ".git/objects" / blob[:2] / blob[2:]).unlink()
    said: list[str] = []
    for progress in (None, into(told)):
        with pytest.raises(Exception, match="could not fetch the source") as error:
            await mirrors.fetch(origin.url, "main", progress=progress)
        said.append(str(error.value))
    for words in said:
        assert "fatal: git upload-pack: aborting due to possible repository corruption" in words
        assert "branch-" not in words and "%" not in words


MESSAGES = [
    {"status": "Pulling from library/golang", "id": "1.21"},
    {"status": "Already exists", "progressDetail": {}, "id": "base"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "one"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "two"},
    {"status": "Waiting", "progressDetail": {}, "id": "two"},
    {"status": "Downloading", "progressDetail": {"current": 10_000_000, "total": 40_000_000}, "id": "one"},
    {"status": "Downloading", "progressDetail": {"current": 20_000_000, "total": 20_000_000}, "id": "two"},
    {"status": "Verifying Checksum", "progressDetail": {}, "id": "two"},
    {"status": "Download complete", "progressDetail": {}, "id": "two"},
    {"status": "Downloading", "progressDetail": {"current": -5, "total": "many"}, "id": "two"},
    {"status": "Download complete", "progressDetail": {}, "id": "two"},
    {"status": "Download complete", "progressDetail": {}, "id": "one"},
    {"status": "Extracting", "progressDetail": {"current": 20_000_000, "total": 40_000_000}, "id": "one"},
    {"status": "Extracting", "progressDetail": {"current": 3, "units": "s"}, "id": "one"},
    {"status": "Pull complete", "progressDetail": {}, "id": "one"},
    {"status": "Pull complete", "progressDetail": {}, "id": "two"},
    {"status": "Digest: sha256:0000"},
]
"""As the engine sends them, and two that it should not send."""


def test_what_the_engine_says_of_layers_is_added_up(told: Told) -> None:
    progress = PullProgress("golang:1.21", into(told))
    for message in MESSAGES:
        progress.note(json.loads(json.dumps(message)))
    details = list(dict.fromkeys(detail.removeprefix("pulling golang:1.21: ") for detail, _ in told))
    assert details[0] == "10 of 40 MB"
    assert details[1] == "30 of 60 MB"
    assert "unpacking, 20 of 60 MB" in details
    assert details[-1] == "unpacking, 60 of 60 MB"
    parts = [done for _, done in told if done is not None]
    assert parts == sorted(parts) and parts[-1] == 1.0 and len(parts) == len(told)


def test_layers_without_end_take_no_memory_without_end() -> None:
    progress = PullProgress("an-image", lambda *_: None)
    for number in range(5_000):
        progress.note({"status": "Pulling fs layer", "id": f"layer-{number}"})
    assert len(progress._layers) == 1_000  # pyright: ignore[reportPrivateUsage]


def test_bytes_of_a_file_are_counted(told: Told) -> None:
    source = Counted(io.BytesIO(b"x" * 4096), ByteCount(into(told), 4096))
    assert len(source.read(1024)) == 1024
    assert told == [("1.0 KiB of 4.0 KiB", 0.25)]
    target = io.BytesIO()
    Counted(target, ByteCount(into(told), 2)).write(b"more")  # than was expected
    assert (target.getvalue(), told[-1]) == (b"more", ("4 B of 4 B", 1.0))
    Counted(io.BytesIO(b"pipe"), ByteCount(into(told))).read(4)
    assert told[-1] == ("4 B", None)


def test_nothing_of_it_gets_into_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    with (tmp_path / "build.log").open("w") as file:  # >FILE 2>&1
        monkeypatch.setattr(sys, "stderr", file)
        meter = Meter("downloading", file, clock=lambda: now)
        now = 100.0
        meter("1 of 2 MiB", 0.5)
    assert (tmp_path / "build.log").read_text() == ""


def test_elsewhere_than_on_a_terminal_a_line_comes_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    with Meter("backing up", clock=lambda: now) as meter:
        for second in range(35):
            now = float(second)
            meter(f"{second} of 100 MiB", second / 100)
    assert capsys.readouterr().err.splitlines() == [
        "backing up: 10 %, 10 of 100 MiB",
        "backing up: 20 %, 20 of 100 MiB",
        "backing up: 30 %, 30 of 100 MiB",
    ]

"""Projects that others wrote, built as their users would: green as shipped, red when a commit breaks them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.support import images
from tests.support.consistency import assert_ended_once
from tests.support.repos import Repo
from tests.support.server import Server

_CACHE = Path.home() / ".cache" / "rapidflow-tests"


def source_of(name: str, version: str) -> Path:
    """The source distribution of a project, which is downloaded once."""
    archive = _CACHE / f"{name}-{version}.tar.gz"
    if not archive.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        # Only the project itself must be source; what its metadata needs may come as it likes.
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name,
             "--dest", str(_CACHE), f"{name}=={version}"],
            check=True,
        )  # fmt: skip
    return archive


def unpack(archive: Path, repo: Repo) -> str:
    """Makes the project the first commit of the repository; returns the commit."""
    with tarfile.open(archive) as tar:
        tar.extractall(repo.path, filter="data")
    top = repo.path / archive.name.removesuffix(".tar.gz")
    for path in top.iterdir():
        shutil.move(path, repo.path / path.name)
    top.rmdir()
    return repo.commit({}, "as shipped")


def change(repo: Repo, name: str, old: str, new: str) -> str:
    """A commit that replaces `old`, which must be in the file, by `new`."""
    text = (repo.path / name).read_text()
    assert old in text
    return repo.commit({name: text.replace(old, new)}, "break it")


def build(server: Server, repo: Repo, *steps: str) -> dict[str, Any]:
    config = {
        "name": repo.path.name,
        "repo_name": repo.url,
        "image": images.ensure(images.DEBIAN),
        "env": {"PYTHONDONTWRITEBYTECODE": "1"},
        "steps": list(steps),
    }
    details = server.run(config, seconds=120)
    assert_ended_once(server, details["job"]["id"])
    return details


def counts(step: dict[str, Any]) -> dict[str, int]:
    """What pytest says in the last line of a step, e.g. {"passed": 12}."""
    last = step["output"].splitlines()[-1]
    return {what: int(number) for number, what in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}


def test_a_project_in_pure_python(server: Server, repo: Repo) -> None:
    shipped = unpack(source_of("idna", "3.10"), repo)
    steps = ("python3 --version; ls", "python3 -m pytest -q tests")
    green = build(server, repo, *steps)
    assert (green["job"]["status"], green["job"]["commit"]) == ("success", shipped)
    assert "failed" not in counts(green["steps"][1])
    assert counts(green["steps"][1])["passed"] > 20

    broken = change(
        repo, "idna/core.py", "label_bytes = label_bytes.lower()", "label_bytes = label_bytes.upper()"
    )
    red = build(server, repo, *steps)
    assert (red["job"]["status"], red["job"]["commit"]) == ("failed", broken)
    assert red["job"]["error"] == "step 2 (bash) exited with 1"
    assert [step["exit_code"] for step in red["steps"]] == [0, 1]
    assert counts(red["steps"][1])["failed"] > 0

    # The commit as it was shipped is still green, though the branch has moved on.
    again = server.post(f"/jobs/{green['job']['id']}/retry").json["id"]
    retried = server.wait_finished(again)
    assert retried["job"]["status"] == "success", retried


def test_a_project_with_an_extension_in_c(server: Server, repo: Repo) -> None:
    unpack(source_of("simplejson", "4.3.0"), repo)
    # Its setup goes on without the extension where that can't be compiled; the list of files does not.
    steps = (
        "python3 setup.py build_ext --inplace",
        "ls simplejson/*.so; python3 -m pytest -q",
        "echo packed",
    )
    green = build(server, repo, *steps)
    assert green["job"]["status"] == "success"
    assert "gcc" in green["steps"][0]["output"]
    assert counts(green["steps"][1])["passed"] > 100

    word, file = 'JSON_InternFromString("true")', "simplejson/_speedups.c"
    change(repo, file, word, word.replace("true", "yes"))
    wrong = build(server, repo, *steps)
    assert wrong["job"]["error"] == "step 2 (bash) exited with 1"
    assert counts(wrong["steps"][1])["failed"] > 0
    assert [step["status"] for step in wrong["steps"]] == ["success", "failed", "pending"]

    change(repo, file, word.replace("true", "yes"), word.removesuffix(")"))
    torn = build(server, repo, *steps)
    assert torn["job"]["error"] == "step 2 (bash) exited with 2"
    assert re.search(r"_speedups\.c:\d+:\d+: error: ", torn["steps"][0]["output"])
    assert [step["exit_code"] for step in torn["steps"]] == [0, 2, None]

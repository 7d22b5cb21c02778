"""The command that people copy to build on their own machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rapidflow_web.pages import commands
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support import images
from tests.support.repos import Repo

HOSTILE = [
    'it\'s "quoted" and `ticked` $(touch pwned) ${HOME}',
    "a\\'b; touch pwned #",
    "two\nlines",
    "--privileged",
    "-n",
    "%s %d \\n",
    "ünïcödé",
    "",
]


def run_with_a_fake_docker(command: str, folder: Path) -> list[str]:
    """Runs the command by `sh`; returns the arguments that docker got."""
    programs = folder / "programs"
    programs.mkdir()
    fake = programs / "docker"
    fake.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    fake.chmod(0o755)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("network", [True, False])
def test_a_build_without_a_network_has_none_there_either(tmp_path: Path, network: bool):
    command = commands.reproduce(
        "a", [StepDefinition("true")], {}, repo_name=None, commit=None, folder=None, network=network
    )
    assert ("--network none" in " ".join(run_with_a_fake_docker(command, tmp_path))) is not network


def test_uploaded_working_tree_is_the_folder_in_which_it_runs(tmp_path: Path):
    command = commands.reproduce(
        "a", [StepDefinition("true")], {}, repo_name="https://example.com/a", commit="1" * 40, folder=None,
        uploaded=True,
    )  # fmt: skip
    assert "git" not in command.split()
    given = run_with_a_fake_docker(command, tmp_path)
    assert given[given.index("-v") + 1] == f"{tmp_path}:/workspace"


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_gets_out_of_its_argument(tmp_path: Path, text: str):
    command = commands.reproduce(
        text, [StepDefinition("true")], {"KEY": text}, repo_name=None, commit=None, folder=None
    )
    given = run_with_a_fake_docker(command, tmp_path)
    assert given[given.index("-ec") - 1] == text
    assert f"KEY={text}" in given
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_steps_and_files_arrive_as_they_were_written(tmp_path: Path, text: str):
    step = StepDefinition(f"cat <<'END'\n{text}\nEND", type="sh", files={"it's/a file": text})
    command = commands.reproduce("image", [step], {}, repo_name=None, commit=None, folder=None)
    script = run_with_a_fake_docker(command, tmp_path)[-1]
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run(["sh", "-ec", script], cwd=work, capture_output=True, text=True, check=True)
    assert done.stdout == f"{text}\n"
    assert (work / "it's/a file").read_text() == text
    assert [path.name for path in work.iterdir()] == ["it's"]


def test_a_step_that_fails_ends_it(tmp_path: Path):
    steps = [StepDefinition("false | true", type="bash"), StepDefinition("touch later")]
    command = commands.reproduce("image", steps, {}, repo_name=None, commit=None, folder=None)
    script = run_with_a_fake_docker(command, tmp_path)[-1]
    assert subprocess.run(["sh", "-ec", script], cwd=tmp_path).returncode == 1
    assert not (tmp_path / "later").exists()


def test_it_builds_the_commit_in_its_folder_with_docker(tmp_path: Path):
    repo = Repo(tmp_path / "it's a repo")
    commit = repo.commit({"app/hello.txt": "the commit\n"})
    repo.commit({"app/hello.txt": "a later one\n"})
    command = commands.reproduce(
        images.ensure(images.BASH),
        [
            StepDefinition("cat hello.txt"),
            StepDefinition('echo "$WHO" >written'),
            StepDefinition("cat written"),
        ],
        {"WHO": "it's me"},
        repo_name=repo.url,
        commit=commit,
        folder="./app",
    )
    done = subprocess.run(["sh", "-ec", command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("the commit\nit's me\n", 0), done.stderr


def test_the_value_of_a_secret_comes_from_the_readers_shell():
    command = commands.reproduce(
        "alpine", [StepDefinition("true")], {"A": "1", "TOKEN": "***"}, ["TOKEN"],
        repo_name=None, commit=None, folder=None,
    )  # fmt: skip
    assert " -e A=1 -e TOKEN " in command and "***" not in command

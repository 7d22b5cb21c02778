"""Builds on the source of a repository, and what is said when there is none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.repos import Repo
from tests.support.server import Server


def failed(server: Server, **pipeline: object) -> str:
    """The error of a build that fails before its first step."""
    details = server.run({"name": "source", "steps": ["echo never"], **pipeline})
    assert details["job"]["status"] == "failed"
    assert [step["status"] for step in details["steps"]] == ["pending"]
    error = details["job"]["error"]
    assert server.stream(details["job"]["id"]) == f"=== Build failed: {error} ===\n=== Build completed ===\n"
    return error


def test_failed_checkout_is_told_in_its_own_words_in_the_timeline(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server = new_server(executor="process").start()
    commit = repo.commit({".gitmodules": '[submodule "lib"]\n\tpath = lib\n\turl = ../nowhere\n'})
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},lib")
    repo.git("commit", "--quiet", "--message", "a submodule")
    details = server.run({"name": "source", "repo_name": repo.url, "steps": ["true"]})
    timeline = server.get(f"/jobs/{details['job']['id']}/timeline").json
    (detail,) = [phase["detail"] for phase in timeline if phase["name"] == "source"]
    assert detail == details["job"]["error"]
    assert detail.startswith("the submodule 'lib': could not fetch the source: ")


def test_steps_run_in_the_folder_of_the_branch_of_the_repository(server: Server, repo: Repo) -> None:
    repo.commit({"app/main.txt": "main"})
    repo.git("checkout", "--quiet", "-b", "feature/one")
    commit = repo.commit({"app/main.txt": "feature"})
    details = server.run(
        {
            "name": "source",
            "repo_name": repo.url,
            "branch": "feature/one",
            "folder": "./app",
            "steps": ["cat main.txt; pwd", "echo $RAPIDFLOW_BRANCH $RAPIDFLOW_REF $RAPIDFLOW_COMMIT"],
        }
    )
    assert [step["output"] for step in details["steps"]] == [
        "feature/workspace/app\n",
        f"feature/one refs/heads/feature/one {commit}\n",
    ]
    assert details["job"]["commit"] == commit


@pytest.mark.parametrize(
    "runs", [{"steps": ["true"]}, {"jobs": {"one": {"if": "ref == 'refs/heads/main'", "steps": ["true"]}}}]
)
def test_a_build_without_a_branch_has_the_ref_of_the_default_branch(
    server: Server, repo: Repo, runs: dict[str, Any]
) -> None:
    repo.commit({"a": "1"})
    job = server.run({"name": "source", "repo_name": repo.url, **runs})
    assert (job["job"]["branch"], job["job"]["ref"]) == ("main", "refs/heads/main")
    assert job["steps"][0].get("part", {}).get("state", "success") == "success"


def test_a_build_can_compare_its_branch_with_others(server: Server, repo: Repo) -> None:
    commit = repo.commit({"main.txt": "main"})
    repo.git("checkout", "--quiet", "-b", "feature")
    repo.commit({"feature.txt": "feature"})
    # The image has no git.
    steps = ["cat .git/packed-refs"]
    details = server.run({"name": "source", "repo_name": repo.url, "branch": "feature", "steps": steps})
    assert f"{commit} refs/remotes/origin/main\n" in details["steps"][0]["output"], details["job"]["error"]


def test_files_that_stay_pointers_are_named_in_the_timeline(server: Server, repo: Repo) -> None:
    repo.commit(
        {"a.bin": "version https://git-lfs.github.com/spec/v1\n", ".gitattributes": "*.bin filter=lfs\n"}
    )
    repo.commit({".lfsconfig": "[lfs]\n\turl = https://elsewhere.example/\n"})
    details = server.run({"name": "source", "repo_name": repo.url, "steps": ["cat a.bin"]})
    assert details["job"]["status"] == "success"
    timeline = server.get(f"/jobs/{details['job']['id']}/timeline").json
    (detail,) = [phase["detail"] for phase in timeline if phase["name"] == "source"]
    assert detail.endswith(
        "; 1 file is a Git LFS pointer, because .lfsconfig names another host than that of the repository"
    )


def test_without_a_branch_the_default_branch_is_built(server: Server, repo: Repo) -> None:
    commit = repo.commit({"a": "a"})
    details = server.run({"name": "source", "repo_name": repo.url, "steps": ["cat a"]})
    assert (details["job"]["branch"], details["job"]["commit"]) == ("main", commit)


def test_builds_of_one_repository_at_the_same_time_do_not_disturb_each_other(
    server: Server, repo: Repo
) -> None:
    repo.commit({f"{number}": os.urandom(20_000).hex() for number in range(60)})
    pipeline = {"name": "at once", "repo_name": repo.url, "steps": ["ls | wc -l"]}
    jobs = [server.start_job(pipeline) for _ in range(8)]
    ended = [server.wait_finished(job) for job in jobs]
    assert [(one["job"]["error"], one["steps"][0]["output"]) for one in ended] == [(None, "60\n")] * 8


def test_a_branch_that_is_missing_fails_with_the_words_of_git(server: Server, repo: Repo) -> None:
    repo.commit({"a": "a"})
    error = failed(server, repo_name=repo.url, branch="nope")
    assert error.startswith("could not fetch the source: ")
    assert "refs/heads/nope" in error


def test_a_repository_that_can_not_be_reached_fails_with_the_words_of_git(server: Server, repo: Repo) -> None:
    error = failed(server, repo_name=f"{repo.url}-is-not-there")
    assert error.startswith("could not fetch the source: ")
    assert "does not appear to be a git repository" in error
    assert "Connection refused" in failed(server, repo_name="git://127.0.0.1:9/app.git")


def test_an_image_that_was_chosen_by_a_file_and_can_not_be_pulled_names_the_file(
    tmp_path: Path, repo: Repo, repos: Path
) -> None:
    repo.commit({"package.json": "{}"})
    image = "127.0.0.1:9/node:{version}"
    server = Server(tmp_path / "data", file_roots=str(repos), image_nodejs=image).start()
    try:
        error = failed(server, repo_name=repo.url)
    finally:
        server.stop()
    assert error.startswith("could not pull image 127.0.0.1:9/node:lts: ")
    assert error.endswith("; it was chosen because of package.json; set 'image' to use another")


def test_a_folder_that_is_not_in_the_repository_is_named(server: Server, repo: Repo) -> None:
    repo.commit({"a": "a"})
    error = failed(server, repo_name=repo.url, folder="not/there")
    assert error == "the folder 'not/there' is not in the repository"


def test_an_image_that_is_missing_is_named_with_the_words_of_the_engine(server: Server, repo: Repo) -> None:
    repo.commit({"a": "a"})
    error = failed(server, repo_name=repo.url, image="127.0.0.1:9/team/app:1")
    assert error.startswith("could not pull image 127.0.0.1:9/team/app:1: ")
    assert "refused" in error


def test_an_image_is_never_replaced_by_another_one(server: Server) -> None:
    name = images.ensure(images.BASH).rpartition(":")[0]
    assert failed(server, image=f"{name}:0").startswith(f"could not pull image {name}:0: ")


def test_what_happened_before_the_first_step_is_in_the_timeline(server: Server, repo: Repo) -> None:
    repo.commit({"a": "a"})
    details = server.run({"name": "source", "repo_name": repo.url, "steps": ["true"]})
    timeline = server.get(f"/jobs/{details['job']['id']}/timeline").json
    assert {phase["name"] for phase in timeline} == {"queued", "source", "image", "container"}
    assert timeline[0]["name"] == "queued"
    assert all(phase["finished_at"] for phase in timeline)

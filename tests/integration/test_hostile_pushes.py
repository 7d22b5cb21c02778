"""What repositories may have in them: each is a sentence where people look, and holds up nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from tests.support.deliveries import ZERO, Hook, outcomes, push_body
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, handled, push, pushed
from tests.support.server import Server, wait_for

_BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, repos: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    made = Server(folder / "data", executor="process", file_roots=str(repos), grace="1s").start()
    yield made
    made.stop()


def raw_commit(repo: Repo, message: bytes, author: bytes = b"Test <t@example.invalid>") -> str:
    """A commit with bytes that the commands of git would not take."""
    tree, parent = repo.git("rev-parse", "HEAD^{tree}"), repo.git("rev-parse", "HEAD")
    head = f"tree {tree}\nparent {parent}\n".encode()
    text = head + b"author %s 1 +0000\ncommitter %s 1 +0000\n\n%s" % (author, author, message)
    made = subprocess.run(
        ["git", "hash-object", "-t", "commit", "-w", "--stdin", "--literally"],
        input=text, cwd=repo.path, capture_output=True, check=True,
    )  # fmt: skip
    commit = made.stdout.decode().strip()
    repo.git("reset", "-q", "--hard", commit)
    return commit


def built(server: Server, event: dict[str, Any]) -> dict[str, Any]:
    (decision,) = event["decisions"]
    assert decision["outcome"] == "built", decision
    details = server.wait_finished(decision["job_id"])
    assert details["job"]["status"] == "success", details
    return details


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({".rapidflow.yml": "# " + "x" * 2_000_000}, "a definition may have 256 KiB"),
        ({".rapidflow.yml": b"name: \xff\n"}, ".rapidflow.yml is not valid UTF-8"),
        ({".rapidflow.yml": _BOMB}, "line "),
        ({".rapidflow.yml": "name: ci\non: push\nsteps: " + "[" * 5000}, "line "),
        ({".rapidflow.yml": ""}, "line "),
        ({".rapidflow/a.yml": definition()}, "both .rapidflow.yml and files in .rapidflow/"),
    ],
    ids=["large", "bytes", "bomb", "deep", "empty", "both"],
)
def test_a_definition_that_is_not_one_is_told_at_once(
    server: Server, repo: Repo, files: dict[str, str | bytes], said: str
) -> None:
    repo.commit({".rapidflow.yml": definition()})
    added = add(server, repo)
    repo.commit(files)
    ((outcome, reason),) = outcomes(push(server, added["id"], repo))
    assert outcome == "failed" and said in reason and "\n" not in reason, reason
    assert ".yml: .rapidflow" not in reason, "the file is named twice"
    shown = server.get(f"/repositories/{added['id']}").json
    assert said in shown["problems"][0]["message"] and [one["name"] for one in shown["pipelines"]] == ["ci"]
    shutil.rmtree(repo.path / ".rapidflow", ignore_errors=True)
    repo.commit({".rapidflow.yml": definition(steps="echo again")})
    assert built(server, push(server, added["id"], repo))["steps"][0]["output"] == "again\n"
    assert server.get(f"/repositories/{added['id']}").json["problems"] == []


@pytest.mark.parametrize("name", [".rapidflow.yml", ".rapidflow", ".rapidflow/a.yml"])
@pytest.mark.parametrize("target", ["/etc/passwd", "elsewhere", "../outside"])
def test_a_link_is_no_definition(server: Server, repo: Repo, name: str, target: str) -> None:
    repo.commit({"elsewhere": definition("stolen")})
    path = repo.path / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)
    repo.commit({})
    added = add(server, repo)
    (problem,) = added["problems"]
    assert problem["path"] == name and "is a link" in problem["message"]
    assert added["pipelines"] == []


def test_what_a_folder_has_too_much_of_is_told(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow/a.yml": definition("a"), ".rapidflow/b.yml": definition("a")})
    added = add(server, repo)
    (problem,) = added["problems"]
    assert problem["path"] == ".rapidflow/b.yml" and "already uses the name 'a'" in str(problem)
    blob = repo.git("hash-object", "-w", ".rapidflow/a.yml")
    listing = "".join(f"100644 blob {blob}\tf{number}.yml\n" for number in range(10_001))
    for text in (listing[: len(listing) // 90], listing):
        lines = text[: text.rindex("\n") + 1]
        made = subprocess.run(
            ["git", "mktree"], input=lines, cwd=repo.path, capture_output=True, text=True, check=True
        )
        folder = made.stdout.strip()
        made = subprocess.run(
            ["git", "mktree"], input=f"040000 tree {folder}\t.rapidflow\n", cwd=repo.path,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        commit = repo.git("commit-tree", "-m", "many", "-p", "HEAD", made.stdout.strip())
        repo.git("update-ref", "refs/heads/main", commit)
        ((outcome, reason),) = outcomes(push(server, added["id"], repo))
        assert outcome == "failed" and "at most 100" in reason
    assert len(server.get(f"/repositories/{added['id']}").json["pipelines"]) == 1


@pytest.mark.parametrize(
    "name",
    ["-x", "--upload-pack=touch${IFS}x", "a'b\"c", "ü/日本", "$(id)", "a;b|c&d", "<b>&amp;", "x" * 200],
)
def test_a_branch_may_have_any_name_that_git_takes(server: Server, repo: Repo, name: str) -> None:
    repo.commit({".rapidflow.yml": definition(steps='printf "%s" "$RAPIDFLOW_BRANCH"')})
    added = add(server, repo)
    repo.commit({"a": "b"})
    repo.git("update-ref", f"refs/heads/{name}", "HEAD")
    repo.git("reset", "-q", "--hard", "HEAD^")
    assert server.post(f"/repositories/{added['id']}/poll").status == 200
    (event,) = events(server, added["id"])
    assert event["ref"] == f"refs/heads/{name}"
    assert built(server, event)["steps"][0]["output"] == name
    page = server.get(f"/ui/repositories/{added['id']}")
    assert page.status == 200 and str(escape(name)) in page.text


def test_a_ref_that_is_no_text_keeps_nobody_from_looking(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition()})
    added = add(server, repo)
    commit = repo.commit({"a": "b"})
    odd = repo.path / ".git" / "refs" / "heads" / os.fsdecode(b"odd-\xff\xfe")
    odd.write_text(f"{commit}\n")
    for _ in range(2):
        looked = server.post(f"/repositories/{added['id']}/poll")
        assert looked.status == 200, looked.text
    assert len(events(server, added["id"])) == 2
    for line in (b"\xff", b"a b", f"{ZERO} {commit} refs/heads/\x1b[31m".encode(), b"", b"x" * 3_000):
        answer = server.request(
            "POST", f"/repositories/{added['id']}/refs", line, {"Content-Type": "text/plain"}
        )
        assert answer.status == 400 and answer.json["error"]


@pytest.mark.parametrize(
    "ref", ["refs/heads/main extra", "refs/heads/", "refs/heads/a..b", "refs/heads/.lock", "refs/tags/v 1"]
)
def test_a_ref_that_git_can_not_have_is_refused_before_anything_is_stored(
    server: Server, repo: Repo, ref: str
) -> None:
    repo.commit({".rapidflow.yml": definition(on="[push, tag]")})
    added = add(server, repo)
    line = f"{ZERO} {repo.commit({'a': 'b'})} {ref}\n"
    answer = server.request("POST", f"/repositories/{added['id']}/refs", line, {"Content-Type": "text/plain"})
    assert answer.status == 400
    assert answer.json["error"] == "line 1 is not 'OLD NEW REF', as git gives it to post-receive"
    assert server.get(f"/repositories/{added['id']}/deliveries").json == []


@pytest.mark.parametrize(
    ("message", "title"),
    [
        (b"\x1b[31mred\x07\n\nbody", "red"),
        (b"bad \xff\xfe bytes\n", "bad "),
        (b"\n\n", ""),
        ("\u202eevil \U0001f600\n".encode(), "evil"),
        (b"x" * 20_000_000, ""),
        (b"$(touch /tmp/rapidflow-pwned) `id` '\"\n", "$(touch"),
    ],
    ids=["escapes", "bytes", "none", "unicode", "20 MB", "shell"],
)
def test_a_message_may_have_anything_in_it(server: Server, repo: Repo, message: bytes, title: str) -> None:
    repo.commit({".rapidflow.yml": definition(steps='printf "%s" "$RAPIDFLOW_TITLE"')})
    added = add(server, repo)
    raw_commit(repo, message, b"\xff\x1b[1mWho <t@example.invalid>")
    details = built(server, push(server, added["id"], repo))
    assert title in details["job"]["title"] and len(details["job"]["title"]) <= 300
    assert title in details["steps"][0]["output"]


def test_a_history_may_be_replaced_by_an_unrelated_one(server: Server, repo: Repo) -> None:
    on = "{push: {paths: [src/**]}}"
    old = repo.commit({".rapidflow.yml": definition(on=on), "src/a": "1"})
    added = add(server, repo)
    repo.git("switch", "-q", "--orphan", "fresh")
    new = repo.commit({".rapidflow.yml": definition(on=on), "README": "2"})
    repo.git("update-ref", "refs/heads/main", new)
    pushed(server, added["id"], f"{old} {new} refs/heads/main")
    # Against what its files have changed can't be known, so it is built.
    assert built(server, events(server, added["id"])[0])["job"]["commit"] == new


def test_a_repository_that_has_nothing_is_not_added(server: Server, repo: Repo) -> None:
    answer = server.post("/repositories", {"url": repo.url})
    assert answer.status == 422 and "push a commit first" in answer.text
    gone = server.post("/repositories", {"url": f"{repo.url}-gone"})
    assert gone.status == 422 and "could not" in gone.text
    repo.commit({"README": "no definition"})
    added = add(server, repo)
    assert added["pipelines"] == [] and added["problems"] == []
    repo.commit({".rapidflow.yml": definition()})
    assert built(server, push(server, added["id"], repo))


def test_thousands_of_branches_are_read_in_one_poll(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition()})
    old = repo.git("rev-parse", "HEAD")
    # Over 1 MiB of refs. Git makes files of new refs, so they are written as it packs them.
    name = "n" * 240
    lines = "".join(f"{old} refs/heads/{name}/{number:05}\n" for number in range(4_000))
    head = "# pack-refs with: peeled fully-peeled sorted \n"
    (repo.path / ".git" / "packed-refs").write_text(head + lines)
    added = add(server, repo)
    commit = repo.commit({"a": "b"})
    assert server.post(f"/repositories/{added['id']}/poll").status == 200
    (event,) = events(server, added["id"])
    assert event["after"] == commit
    built(server, event)


def test_a_repository_whose_server_says_nothing_holds_up_no_other(
    new_server: Callable[..., Server], repo: Repo, repos: Path, tmp_path: Path
) -> None:
    real = shutil.which("git")
    stuck, program = tmp_path / "stuck", tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase "$1 $PWD" in (fetch*|ls-remote*) '
        f"if [ -e {stuck} ] && grep -q {repo.path.name}$ config; then exec sleep 1000; fi;; esac\n"
        f'exec {real} "$@"\n'
    )
    program.chmod(0o755)
    server = new_server(executor="process", fetch_timeout="2s")
    server.set_path(f"{program.parent}:{os.environ['PATH']}")
    server.start()
    other = Repo(repos / f"other-{os.getpid()}")
    hooks = [(one, Hook(server, _added(server, one))) for one in (repo, other)]
    stuck.touch()
    sent = [hook.push("github", one.commit({"a": "b"})).json["delivery"] for one, hook in hooks]
    handled(server, sent[1])
    first = f"/deliveries/{sent[0]}"
    wait_for(lambda: server.get(first).json["outcome"], "it is given up")
    # Either its refs or its commits are asked for first.
    said = server.get(first).json["outcome"]
    assert "did not answer within 2 s" in said or "it took longer than 2s" in said
    assert server.get(first).json["handled_at"] is None
    stuck.unlink()
    handled(server, sent[0])


def _added(server: Server, repo: Repo) -> dict[str, Any]:
    repo.commit({".rapidflow.yml": definition()})
    return add(server, repo)


def test_a_body_of_20_mb_does_not_hold_up_the_server(server: Server, repo: Repo) -> None:
    added = _added(server, repo)
    hook = Hook(server, added)
    commit = repo.commit({"a": "b"})
    body = push_body("github", "refs/heads/main", None, commit)
    names = [f"some/folder/with/a/file/{number}.txt" for number in range(600_000)]
    body["commits"] = [{"id": commit, "message": "m", "added": names}]
    text = json.dumps(body).encode()
    assert len(text) > 20_000_000
    # The event loop is watched in all tests, see `no_stalls`.
    assert hook.send("github", text, secret="f" * 32).status == 401
    answer = hook.send("github", text)
    assert answer.status == 202, answer.text
    # Not by asking for the delivery again and again, which comes with its body.
    wait_for(lambda: events(server, added["id"]), "it is an event", seconds=60)
    built(server, events(server, added["id"])[0])
    assert hook.send("github", b"[" * 20_000_000).status == 400
    assert hook.send("github", b'{"a":' * 3_000_000).status == 400
    deliveries = server.get(f"/repositories/{added['id']}/deliveries")
    assert len(deliveries.body) < 1_000_000

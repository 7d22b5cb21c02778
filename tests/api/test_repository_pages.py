"""Pages of repositories over HTTP: what they show, to whom, and that what comes from outside is text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.support.deliveries import Hook, pull_request_body
from tests.support.pages import made_from
from tests.support.repos import Repo
from tests.support.server import Answer, Server, wait_for
from tests.support.users import add_user, as_, session_of, token_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SCRIPT = "<script>alert(1)</script>"
TITLE = f"{SCRIPT} \x1b[31mred \u202eback"
BRANCH = "<script>x</script>"
UNSEEN = "\u202e\u200b"
FILE = f".rapidflow/<script>{UNSEEN}.yml"
DEFINITION = "name: ci\non: [push, tag, pull_request]\nsteps:\n  - echo built\n"


class Team:
    """A server with a repository in which all that a stranger can choose is hostile."""

    def __init__(self, server: Server, repo: Repo) -> None:
        self.server, self.repo = server, repo
        for name, role in (("root", "admin"), ("bea", "builder"), ("vera", "viewer"), ("vic", "viewer")):
            add_user(server, name, role)
        self.root = as_(token_of(server, "root"))
        self.cookies = {name: {"Cookie": session_of(server, name)} for name in ("root", "bea", "vera", "vic")}
        self.added = self.call("POST", "/repositories", {"url": repo.url})
        self.id = self.added["id"]
        self.call("PUT", f"/repositories/{self.id}", {"poll": "off"})
        self.pipeline = self.added["pipelines"][0]["id"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the API by an administrator."""
        headers = {**self.root, "Content-Type": "application/json"}
        answer = self.server.request(method, path, None if body is None else json.dumps(body), headers)
        assert answer.status < 300, answer.text
        return answer.json

    def get(self, path: str, who: str = "root") -> Answer:
        """A page as one of them sees it."""
        return self.server.get(path, self.cookies[who])

    def send(self, path: str, who: str = "root", /, **fields: Any) -> Answer:
        """A form as one of them sends it."""
        return self.server.request("POST", path, urlencode(fields, doseq=True), {**FORM, **self.cookies[who]})

    def push(self, ref: str) -> dict[str, Any]:
        """Tells the server of a ref that changed; returns the event."""
        new = self.repo.git("rev-parse", f"{ref}^{{commit}}")
        answer = self.server.request(
            "POST", f"/repositories/{self.id}/refs", f"{'0' * 40} {new} {ref}",
            {**self.root, "Content-Type": "text/plain"},
        )  # fmt: skip
        return self.handled(answer.json["delivery"])[0]

    def handled(self, delivery: int) -> list[dict[str, Any]]:
        """Waits for a delivery; returns its events."""
        path = f"/deliveries/{delivery}"
        wait_for(lambda: self.call("GET", path)["handled_at"], "the delivery is handled")
        return self.call("GET", path)["events"]

    def from_fork(self, number: int, key: str) -> dict[str, Any]:
        """Opens a pull request from a fork; returns its decision."""
        base = self.repo.git("rev-parse", "HEAD")
        head = self.repo.commit({"fork": str(number)}, TITLE)
        self.repo.git("update-ref", f"refs/pull/{number}/head", head)
        self.repo.git("reset", "-q", "--hard", base)
        body = pull_request_body(head, number=number, title=TITLE, sender=SCRIPT, source=f"{BRANCH}{UNSEEN}")
        body["pull_request"]["html_url"] = "javascript:alert(1)"
        answer = Hook(self.server, self.added).send("github", body, event="pull_request", identifier=key)
        assert answer.status == 202, answer.text
        (event,) = self.handled(answer.json["delivery"])
        return event["decisions"][0]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("pages")
    server = Server(folder / "data", executor="process", grace="1s", file_roots=str(folder)).start()
    repo = Repo(folder / "repo")
    repo.commit({".rapidflow/a.yml": DEFINITION, FILE: f"name: x\nsteps: '{SCRIPT}'\n"}, TITLE)
    yield Team(server, repo)
    server.stop()


def test_a_repository_is_added_and_its_secret_shown_this_once(team: Team) -> None:
    folder = team.repo.path.parent
    other = Repo(folder / "other")
    other.commit({".rapidflow.yml": DEFINITION})
    wrong = team.send(
        "/ui/repositories", url=f"https://user:hunter22@127.0.0.1:1/{SCRIPT}", token="secret-token"
    )
    assert wrong.status == 422 and 'role="alert"' in wrong.text
    assert "hunter22" not in wrong.text and "secret-token" not in wrong.text and SCRIPT not in wrong.text
    assert team.send("/ui/repositories", url=team.repo.url).status == 409
    page = team.send("/ui/repositories", url=other.url, forge="")
    assert page.status == 200 and "Repository added" in page.text
    (secret,) = re.findall(r'id="secret">([^<]+)<', page.text)
    (number,) = re.findall(r"/repositories/(\d+)/refs", page.text)
    assert "hooks/post-receive" in page.text and "ci</a>" in page.text
    assert "Bearer TOKEN" in page.text and "in place of TOKEN" in page.text
    assert secret not in team.get(f"/ui/repositories/{number}").text
    assert (
        "for another 24 hours, or until the next one is made" in team.get(f"/ui/repositories/{number}").text
    )
    renewed = team.send(f"/ui/repositories/{number}/secret").text
    assert "for another 24 hours, or until the next one is made" in renewed and secret not in renewed
    page = team.get(f"/ui/repositories/{number}").text
    assert "The secret before it, which the forge may still use, stops counting now" in page
    assert "accepted for another" not in page
    # Firefox fills in what a reloaded page had in its fields, unless it is told not to.
    assert all('autocomplete="off"' in field for field in re.findall(r'<input[^>]* name="was"[^>]*>', page))
    fresh = re.findall(r'/secret".*?name="was" value="([^"]+)"', page)
    assert team.send(f"/ui/repositories/{number}/secret", was=fresh[0]).status == 200
    again = team.send(f"/ui/repositories/{number}/secret", was=fresh[0])  # as by a reload of the answer
    assert again.status == 409 and "No secret was made" in again.text and 'id="secret"' not in again.text
    removed = team.send(f"/ui/repositories/{number}/remove")
    assert removed.headers["location"] == "/ui/repositories?done=removed"
    assert team.get(f"/ui/repositories/{number}").status == 404


def test_of_new_secrets_at_once_only_one_is_made_and_shown(team: Team) -> None:
    path = f"/ui/repositories/{team.id}"
    (was,) = re.findall(r'/secret".*?name="was" value="([^"]+)"', team.get(path).text)
    with ThreadPoolExecutor(4) as threads:
        pages = list(threads.map(lambda _: team.send(f"{path}/secret", was=was), range(4)))
    assert sorted(page.status for page in pages) == [200, 409, 409, 409]
    for page in pages:
        assert ('id="secret"' in page.text) == (page.status == 200)
        assert ("No secret was made" in page.text) == (page.status == 409)


def test_the_list_has_pipelines_problems_and_the_last_build(team: Team) -> None:
    team.repo.commit({"a": "b"}, TITLE)
    team.push("refs/heads/main")
    wait_for(lambda: not team.call("GET", "/jobs?status=pending"), "the build begins")
    text = team.get("/ui/repositories", "vera").text
    assert team.repo.url in text and f'href="/ui/pipelines/{team.pipeline}"' in text
    assert ".rapidflow/&lt;script&gt;\\u202e\\u200b.yml" in text and "line 2" in text
    for path in ("/ui/repositories", f"/ui/repositories/{team.id}"):
        assert not re.search(f"[{UNSEEN}]", team.get(path).text), path
    assert 'href="/ui/repositories/new"' not in text
    assert 'href="/ui/repositories/new"' in team.get("/ui/repositories").text


def test_settings_are_changed_or_the_page_says_why_not(team: Team) -> None:
    path = f"/ui/repositories/{team.id}"
    team.call("PUT", "/secrets/GRANTED", {"value": "a value"})
    good = {"poll": "10m", "forge": "github", "forks": "never", "secrets": ["GRANTED"]}
    for wrong, said in (
        ({"poll": "1s"}, "at least 10s"),
        ({"poll": SCRIPT}, "or off"),
        ({"forks": "x"}, "Use one of"),
    ):
        page = team.send(f"{path}/change", **{**good, **wrong})
        assert page.status == 422 and said in page.text and SCRIPT not in page.text
    refused = team.send(f"{path}/change", **{**good, "poll": "often"}).text
    for kept in (
        'value="often"',
        "<option selected>github",
        'value="never" selected',
        'value="GRANTED" checked',
    ):
        assert kept in refused, kept
    assert "every often" not in refused
    assert team.send(f"{path}/change", **good).status == 303
    now = team.call("GET", f"/repositories/{team.id}")
    assert (now["poll"], now["forge"], now["forks"], now["secrets"]) == (
        "10m",
        "github",
        "never",
        ["GRANTED"],
    )
    assert 'value="GRANTED" checked' in team.get(path).text
    # An old page does not undo unseen what others changed after it was opened.
    old = {**good, "forge": "gitlab", **made_from(team.get(path).text)}
    team.call("PUT", f"/repositories/{team.id}", {"poll": "7m", "forks": "run", "secrets": []})
    refused = team.send(f"{path}/change", **old)
    assert refused.status == 409 and ": poll 7m, forge github, forks run, secrets none; save" in refused.text
    assert "<option selected>gitlab" in refused.text and 'value="GRANTED" checked' in refused.text
    assert team.call("GET", f"/repositories/{team.id}")["forge"] == "github"
    assert team.send(f"{path}/change", **{**old, **made_from(refused.text)}).status == 303
    assert team.call("GET", f"/repositories/{team.id}")["forge"] == "gitlab"
    back = {"poll": "off", "forge": "git", "forks": "approve"}
    assert team.send(f"{path}/change", **back).status == 303
    assert team.call("GET", f"/repositories/{team.id}")["secrets"] == []
    said = team.send(f"{path}/connect")
    assert said.status == 400 and "has no API" in said.text
    assert team.send(f"{path}/poll", "bea").headers["location"] == f"{path}?done=polled"
    assert team.get(f"{path}/change").headers["location"] == path


def test_events_say_for_each_pipeline_why_it_was_built_or_not(team: Team) -> None:
    team.repo.git("branch", "-f", BRANCH)
    team.repo.git("switch", "-q", BRANCH)
    team.repo.commit({"x": "y"}, f"{TITLE} [skip ci]")
    event = team.push(f"refs/heads/{BRANCH}")
    team.repo.git("switch", "-q", "main")
    text = team.get(f"/ui/repositories/{team.id}/events", "vera").text
    assert f'id="event-{event["id"]}"' in text
    assert "The commit&#39;s message has &#39;[skip ci]&#39;." in text
    assert "&lt;script&gt;x&lt;/script&gt;" in text and "<script>alert" not in text and BRANCH not in text
    assert "red \\u202eback" in text and "\u202e" not in text
    assert "/ui/deliveries/" not in text
    assert "/ui/deliveries/" in team.get(f"/ui/repositories/{team.id}/events").text
    older = team.get(f"/ui/repositories/{team.id}/events?before={event['id']}").text
    assert f'id="event-{event["id"]}"' not in older and "Newest" in older
    assert team.get(f"/ui/repositories/{team.id}/events?before={SCRIPT}").status == 200


def test_a_build_from_a_fork_is_approved_for_the_commit_that_was_shown(team: Team) -> None:
    decision = team.from_fork(1, "approved")
    assert decision["outcome"] == "waiting", decision
    job = decision["job_id"]
    path = f"/ui/jobs/{job}"
    for who, buttons in (("vera", False), ("bea", True)):
        text = team.get(path, who).text
        assert "Waiting for approval" in text and "comes from a fork" in text
        assert (f'action="{path}/approve"' in text) == buttons
        assert "<script>alert" not in text and 'href="javascript:' not in text
        assert not re.search(f"[{UNSEEN}]", text)
    assert "waits for an approval" in team.get("/").text
    commit = team.call("GET", f"/jobs/{job}")["commit"]
    assert team.send(f"{path}/approve", "vera", commit=commit).status == 403
    wrong = team.send(f"{path}/approve", "bea", commit="0" * 40)
    assert wrong.status == 409 and "waits for an approval of" in wrong.text
    assert team.send(f"{path}/approve", "bea", commit=commit).headers["location"] == path
    wait_for(lambda: team.call("GET", f"/jobs/{job}")["status"] == "success", "the build ends")
    assert "Waiting for approval" not in team.get(path).text
    rejected = team.from_fork(2, "rejected")["job_id"]
    commit = team.call("GET", f"/jobs/{rejected}")["commit"]
    assert team.send(f"/ui/jobs/{rejected}/reject", "bea", commit=commit).status == 303
    assert team.call("GET", f"/jobs/{rejected}")["status"] == "cancelled"
    branches = team.get(f"/ui/repositories/{team.id}/branches", "vera").text
    assert "#1 &lt;script&gt;x&lt;/script&gt;" in branches and f"/ui/jobs/{job}" in branches
    assert "<script>alert" not in branches
    for address in ("/", f"/ui/pipelines/{team.pipeline}"):
        text = team.get(address).text
        assert "&lt;script&gt;alert(1)" in text and "<script>alert" not in text
        assert "pull request</span>" in text


def test_a_delivery_is_shown_tried_dry_and_replayed_by_administrators_alone(team: Team) -> None:
    team.from_fork(3, "shown")
    (delivery, *_) = team.call("GET", f"/repositories/{team.id}/deliveries?limit=1")
    path = f"/ui/deliveries/{delivery['id']}"
    assert f'href="{path}"' in team.get(f"/ui/repositories/{team.id}/deliveries").text
    page = team.get(path).text
    assert "X-Github-Event" in page or "X-GitHub-Event" in page
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page
    for who in ("vera", "bea"):
        assert team.get(path, who).status == 403
        assert team.send(f"{path}/replay", who).status == 403
    count = len(team.call("GET", "/jobs"))
    dry = team.send(f"{path}/replay", dry_run="1")
    assert dry.status == 200 and "Result of a replay" in dry.text and "waits for an approval" in dry.text
    assert len(team.call("GET", "/jobs")) == count
    replayed = team.send(f"{path}/replay").headers["location"]
    assert replayed != path
    team.handled(int(replayed.rpartition("/")[2]))
    assert "Replay of" in team.get(replayed).text
    refused = team.server.request("POST", urlsplit(team.added["hook_url"]).path, "{}")
    assert refused.status == 401
    (wrong,) = team.call("GET", f"/repositories/{team.id}/deliveries?limit=1")
    page = team.get(f"/ui/deliveries/{wrong['id']}").text
    assert "body was not kept" in page and "Replay" not in page
    assert team.send(f"/ui/deliveries/{wrong['id']}/replay").status == 400


def test_the_definition_in_a_repository_is_read_only_and_a_tag_or_commit_can_be_built(team: Team) -> None:
    page = team.get(f"/ui/pipelines/{team.pipeline}").text
    assert "change it in the repository" in page and ".rapidflow/a.yml" in page
    assert f'href="/ui/repositories/{team.id}"' in page and 'id="config"' not in page
    assert "Delete this pipeline" not in page
    path = f"/ui/pipelines/{team.pipeline}"
    assert team.send(f"{path}/delete").status == team.send(path, config=DEFINITION).status == 409
    team.repo.git("tag", "-f", "v1", "main")
    started = team.send(f"{path}/jobs", "bea", what="tag", branch="v1", environment="").headers["location"]
    job = started.rpartition("/")[2]
    wait_for(lambda: team.call("GET", f"/jobs/{job}")["status"] == "success", "the build ends")
    assert "tag v1" in team.get(started).text
    wrong = team.send(f"{path}/jobs", "bea", what="commit", branch=SCRIPT)
    assert wrong.status == 422 and "full hash" in wrong.text and SCRIPT not in wrong.text
    missing = team.send(f"{path}/jobs", "bea", what="branch", branch="gone").headers["location"]
    number = missing.rpartition("/")[2]
    wait_for(lambda: team.call("GET", f"/jobs/{number}")["status"] == "failed", "the build ends")
    text = team.get(missing).text
    assert "The repository has no branch &#39;gone&#39;." in text and "The definition was not read." in text


def test_a_restricted_pipeline_is_on_no_page_of_its_repository(team: Team) -> None:
    name = "sesame"
    team.repo.commit({".rapidflow/sesame.yml": DEFINITION.replace("ci", name)}, "hidden")
    team.push("refs/heads/main")
    pipeline = next(
        one["id"] for one in team.call("GET", f"/repositories/{team.id}")["pipelines"] if one["name"] == name
    )
    pages = [f"/ui/repositories/{team.id}{page}" for page in ("", "/events", "/branches")]
    for path in (*pages, "/ui/repositories"):
        assert name in team.get(path, "vera").text, path
    team.call("PUT", f"/pipelines/{pipeline}/visibility", {"restricted": True, "users": ["vera"]})
    team.repo.commit({".rapidflow/sesame.yml": "name: sesame\nstepz: 1\n"}, "broken")
    team.push("refs/heads/main")
    for path in (*pages, "/ui/repositories"):
        assert name in team.get(path, "vera").text, path
        assert name not in team.get(path, "vic").text, path
    shown = team.server.get(f"/repositories/{team.id}", team.cookies["vic"])
    assert name not in shown.text and FILE in json.dumps(shown.json, ensure_ascii=False)


def test_hook_on_the_page_has_no_token_where_there_are_no_users(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server = new_server(executor="process", file_roots=str(repo.path.parent)).start()
    repo.commit({".rapidflow.yml": DEFINITION})
    assert server.post("/repositories", {"url": repo.url}).status == 201
    page = server.get("/ui/repositories/1").text
    assert "curl -sS" in page and "TOKEN" not in page
    # What fits comes first.
    assert page.index("curl -sS") < page.index("Signed webhooks") < page.index('id="hook-url"')


def test_addresses_for_forges_and_hooks_are_those_of_the_proxy_that_ends_tls(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server = new_server(executor="process", file_roots=str(repo.path.parent)).start()
    repo.commit({".rapidflow.yml": DEFINITION})
    behind_tls = {"X-Forwarded-Proto": "https", "Content-Type": "application/json"}
    added = server.request("POST", "/repositories", json.dumps({"url": repo.url}), behind_tls)
    assert added.status == 201
    address = server.url.replace("http://", "https://")
    assert added.json["hook_url"].startswith(f"{address}/hooks/")
    page = server.get("/ui/repositories/1", behind_tls).text
    assert f"{address}/repositories/1/refs" in page and f"{server.url}/repositories/1/refs" not in page

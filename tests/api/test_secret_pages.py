"""Pages of secrets over HTTP: values go in, and never come out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.server import Answer, Server, wait_for
from tests.support.users import add_user, session_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
VALUE = "-----BEGIN KEY-----\nnobody sees this line\n-----END KEY-----"


class Keeper:
    """A server with an administrator, a viewer, and a pipeline that names secrets."""

    def __init__(self, server: Server) -> None:
        self.server = server
        steps = ['for one in "$KEY" "$TOKEN"; do printf %s "$one" | sha256sum; done']
        config = {"name": "deploys", "secrets": ["KEY", "TOKEN"], "steps": steps}
        self.pipeline = server.pipeline(config)
        self.page = f"/ui/pipelines/{self.pipeline}"
        for name, role in (("root", "admin"), ("vera", "viewer")):
            add_user(server, name, role)
        self.cookies = {name: {"Cookie": session_of(server, name)} for name in ("root", "vera")}

    def get(self, path: str, who: str = "root") -> Answer:
        """A page as one of them sees it."""
        return self.server.get(path, self.cookies[who])

    def send(self, path: str, who: str = "root", /, **fields: str) -> Answer:
        """A form as one of them sends it, with the line ends of browsers."""
        form = urlencode({name: value.replace("\n", "\r\n") for name, value in fields.items()})
        return self.server.request("POST", path, form, {**FORM, **self.cookies[who]})

    def run(self) -> dict[str, Any]:
        """Builds the pipeline; returns the details of the job."""
        started = self.server.request("POST", f"/pipelines/{self.pipeline}/jobs", None, self.cookies["root"])
        path = f"/jobs/{started.json['id']}/details"
        wait_for(lambda: self.get(path).json["job"]["finished_at"], "the build ends")
        return self.get(path).json


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    server = Server(tmp_path_factory.mktemp("keeper") / "data", executor="process", grace="1s").start()
    yield Keeper(server)
    server.stop()


def test_a_secret_that_was_typed_reaches_the_build_as_it_was_typed_and_nobody_else(keeper: Keeper):
    assert "builds will fail" in keeper.get(keeper.page).text
    stored = keeper.send("/ui/secrets", name="KEY", value=f"{VALUE}\n")
    assert stored.headers["location"] == "/ui/secrets?done=set"
    stored = keeper.send(f"{keeper.page}/secrets", name="TOKEN", value=f"{VALUE}\n\n")
    assert stored.headers["location"] == f"{keeper.page}#secrets"
    page = keeper.get(keeper.page).text
    assert "builds will fail" not in page
    assert 'for <a href="/ui/secrets">all pipelines</a>' in page
    details = keeper.run()
    # The end of the last line is no part of a value.
    assert re.findall("[0-9a-f]{64}", details["steps"][0]["output"]) == [
        hashlib.sha256(value.encode()).hexdigest() for value in (VALUE, f"{VALUE}\n")
    ]
    job = details["job"]["id"]
    for path in (
        keeper.page,
        "/ui/secrets",
        "/ui/audit",
        "/audit?limit=200",
        "/secrets",
        f"/ui/jobs/{job}",
        f"/jobs/{job}/details",
    ):
        assert "nobody sees" not in keeper.get(path).text, path
    assert 'title="Only the build knows its value">secret</span>' in keeper.get(f"/ui/jobs/{job}").text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": "KEY", "value": "x7q!"}, "A secret has at least 6 bytes"),
        ({"name": "KEY", "value": ""}, "A secret has at least 6 bytes"),
        ({"name": "no name", "value": VALUE}, "is not a variable name"),
        ({"name": "CI", "value": VALUE}, "CI is a variable that every build has"),
        ({"value": VALUE}, "is not a variable name"),
    ],
)
def test_a_secret_that_can_not_be_is_refused_and_its_value_not_sent_back(
    keeper: Keeper, fields: dict[str, str], sentence: str
):
    for path in ("/ui/secrets", f"{keeper.page}/secrets"):
        page = keeper.send(path, **fields)
        assert page.status == 422
        assert 'role="alert" id="secret-problem"' in page.text
        assert 'aria-describedby="secret-problem secret-hint"' in page.text
        assert sentence in page.text
        assert f'name="name" value="{fields.get("name", "")}"' in page.text
        assert "nobody sees" not in page.text
        assert not fields["value"] or fields["value"] not in page.text


def test_the_password_of_the_repository_is_set_on_the_page_of_its_pipeline(keeper: Keeper):
    name, password = "RAPIDFLOW_CLONE_PASSWORD", "fetch with this"
    config = "name: fetched\nrepo_name: https://user@192.0.2.1/repo\nsteps: ['true']\n"
    added = keeper.send("/ui/pipelines", config=config).headers["location"].partition("?")[0]
    assert keeper.send(f"{added}/secrets", name=name, value=password).status == 303
    page = keeper.get(added).text
    assert "the source is fetched with it" in page and password not in page
    refused = keeper.send("/ui/secrets", name=name, value=password)
    assert refused.status == 422
    assert "is for fetching the source of one pipeline" in refused.text


def test_secrets_are_replaced_and_removed_and_the_audit_log_says_which(keeper: Keeper):
    for path in ("/ui/secrets", f"{keeper.page}/secrets"):
        for value in ("first value", "second value"):
            assert keeper.send(path, name="OF_A_TEST", value=value).status == 303
        assert "OF_A_TEST" in keeper.get("/ui/secrets" if path == "/ui/secrets" else keeper.page).text
        assert keeper.send(f"{path}/remove", name="OF_A_TEST").status == 303
        missing = keeper.send(f"{path}/remove", name="OF_A_TEST")
        assert missing.status == 404
        assert "There is no secret &#39;OF_A_TEST&#39;." in missing.text
        assert keeper.get(f"{path}/remove").status == 303
    entries = [
        (entry["action"], entry["target"], entry["status"])
        for entry in keeper.get("/audit?limit=8").json
        if entry["status"] == 303
    ]
    for form, action in (("", "set"), ("/remove", "remove")):
        assert (f"pages.{action}_secret", f"/ui/secrets{form} (OF_A_TEST)", 303) in entries
        target = f"{keeper.page}/secrets{form} (OF_A_TEST)"
        assert (f"pages.{action}_pipeline_secret", target, 303) in entries


def test_what_is_in_the_query_of_a_form_of_secrets_is_not_noted(keeper: Keeper):
    assert keeper.send("/ui/secrets?value=nobody-sees-this", name="IN_QUERY", value="a value").status == 303
    assert "nobody-sees-this" not in keeper.get("/audit").text


def test_only_administrators_see_names_of_secrets(keeper: Keeper):
    for page in (f"{keeper.page}/secrets", "/ui/secrets"):
        assert keeper.send(page, name="UNNAMED", value="a value").status == 303
    refused = keeper.get("/ui/secrets", "vera")
    assert refused.status == 403
    assert "Only admins can open this" in refused.text and "What each role may do" in refused.text
    page = keeper.get(keeper.page, "vera").text
    assert "UNNAMED" not in page and 'id="secrets"' not in page
    assert 'href="/ui/secrets"' not in page
    assert keeper.send("/ui/secrets", "vera", name="OF_VERA", value="her value").status == 403
    stored = {one["name"]: one["updated_by"] for one in json.loads(keeper.get("/secrets").body)}
    assert stored["UNNAMED"] == "root" and "OF_VERA" not in stored


def test_a_poll_keeps_the_form_for_missing_secrets_also_of_a_long_definition(keeper: Keeper):
    comments = "# a line of a long definition\n" * 700
    config = f"{comments}name: long\nsecrets: [NOWHERE]\nsteps: ['true']\n"
    added = keeper.send("/ui/pipelines", config=config, then="start").headers["location"]
    job = added.rpartition("/")[2]
    wait_for(lambda: keeper.get(f"/jobs/{job}").json["finished_at"], "the build fails")
    for path in (f"/ui/jobs/{job}", f"/ui/jobs/{job}/state"):
        assert 'name="secret:NOWHERE"' in keeper.get(path).text, path


def test_the_form_for_missing_secrets_notes_each_and_says_what_of_it_was_done(keeper: Keeper):
    names = [f"{letter}_{'LONG' * 50}" for letter in "ABCDEF"]
    config = json.dumps({"name": "many", "secrets": names, "steps": ["sleep 60"]})
    page = keeper.send("/ui/pipelines", config=config).headers["location"].partition("?")[0]
    path = f"{page}/secrets/missing"

    def noted() -> list[tuple[str, str]]:
        return [(one["action"], one["target"]) for one in keeper.get("/audit?limit=50").json]

    # No definition can name it: the form of a browser has no such field.
    for other in ("RAPIDFLOW_CLONE_PASSWORD", "SOMETHING_ELSE"):
        refused = keeper.send(path, **{f"secret:{names[0]}": "a value", f"secret:{other}": "a value"})
        assert refused.status == 422
        assert f"Nothing was stored: the definition names no secret &#39;{other}&#39;." in refused.text
        assert keeper.get(f"/{page.removeprefix('/ui/')}/secrets").json == []
    assert keeper.send(path, **{f"secret:{name}": "a value" for name in names}).status == 303
    entries = noted()
    for name in names:
        assert ("pages.set_pipeline_secret", f"{page}/secrets ({name})") in entries

    # It runs, so it can't be retried yet.
    job = keeper.send(f"{page}/jobs").headers["location"].rpartition("/")[2]
    form = {f"secret:{names[1]}": "another value", "job": job, "then": "retry"}
    refused = keeper.send(path, **form)
    assert refused.status == 400
    assert f"Stored: {names[1]}. Build {job} could not be retried: " in refused.text
    assert keeper.send(f"/ui/jobs/{job}/cancel").status == 303
    wait_for(lambda: keeper.get(f"/jobs/{job}").json["finished_at"], "the build ends")
    retried = keeper.send(path, **form)
    assert retried.headers["location"] == f"/ui/jobs/{int(job) + 1}"
    assert ("pages.retry_job", f"/ui/jobs/{job}/retry") in noted()
    keeper.send(f"/ui/jobs/{int(job) + 1}/cancel")

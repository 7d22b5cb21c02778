"""Every kind of answer that is really sent is as the OpenAPI document says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import payloads
from tests.support.deliveries import ZERO
from tests.support.openapi import BADGE, CALLS, HOOK, JSON, TEXT, Truth, operations
from tests.support.repos import Repo
from tests.support.repositories import definition, events
from tests.support.server import Answer, Server, wait_for
from tests.support.uploads import pack
from tests.support.users import PASSWORD, session_of

REPOSITORIES = (
    *(path for path in CALLS if path.startswith(("/repositories", "/deliveries"))),
    HOOK,
    BADGE,
    "/pipelines/{pipeline_id}/explain",
    "/pipelines/{pipeline_id}/uploads",
    "/jobs/{job_id}/approve",
    "/jobs/{job_id}/reject",
)
ACCOUNTS = (
    "/audit",
    "/me",
    "/pipelines/{pipeline_id}/secrets",
    "/pipelines/{pipeline_id}/secrets/{name}",
    "/me/password",
    "/pipelines/{pipeline_id}/visibility",
    "/secrets",
    "/secrets/{name}",
    "/tokens",
    "/tokens/{token_id}",
    "/users",
    "/users/{user_id}",
)


def test_every_kind_of_answer_is_as_documented(
    server: Server,
    document: dict[str, Any],
    succeeded: dict[str, Any],
    failed: dict[str, Any],
    cancelled: dict[str, Any],
    new_name: Callable[[], str],
) -> None:
    truth = Truth(server, document)
    for details in (succeeded, failed, cancelled):
        ids = {"job_id": details["job"]["id"], "step_id": details["steps"][-1]["id"], "name": "db"}
        for path, methods in CALLS.items():
            elsewhere = path in ACCOUNTS or path in REPOSITORIES
            if methods == ["get"] and "pipeline" not in path and not elsewhere:
                truth.ask("GET", path, **ids)
                truth.ask("GET", f"{path}?unknown=1", **ids)
                if "{" in path:
                    truth.ask("GET", path, job_id=10**9, step_id=10**9, name="db")
        truth.ask("GET", "/jobs/{job_id}/logs/stream?Range=bytes=5-", **ids)
        truth.ask("GET", "/jobs/{job_id}/logs/stream?Range=bytes=99999-", **ids)
        truth.ask("POST", "/jobs/{job_id}/cancel", **ids)
    pipeline = {"name": "beside", "steps": ["true"], "services": {"db": {"image": "postgres:16"}}}
    beside = server.run(pipeline)["job"]["id"]
    for query in ("", "?Range=bytes=99999-"):
        truth.ask("GET", f"/jobs/{{job_id}}/services/{{name}}/logs{query}", job_id=beside, name="db")
    truth.ask("GET", "/jobs?limit=1")
    truth.ask("GET", "/nodes")
    truth.ask("GET", "/nodes?x=1")
    truth.ask("POST", "/prune?dry_run=true")
    truth.ask("POST", "/prune?dry_run=perhaps")
    config = "name: documented\nsteps:\n  - {name: one, content: echo up; exec sleep 1000}\n"
    wrong = "name: documented\nstep: []\n"
    made = truth.ask("POST", "/pipelines", body={"name": new_name(), "config": config}).json["id"]
    truth.ask("POST", "/pipelines", body=config.encode(), media_type="application/yaml")
    none: dict[str, Any] = {"pipeline_id": 10**9}
    for method, path in (("POST", "/pipelines"), ("PUT", "/pipelines/{pipeline_id}")):
        for body, media_type in (
            ({"config": config}, JSON),
            ({"config": wrong}, JSON),
            ({}, JSON),
            (b"{", JSON),
            (b"x" * (1024 * 1024 + 1), JSON),
            (b"x", TEXT),
            (b"\xff", "text/yaml"),
        ):
            truth.ask(method, path, body=body, media_type=media_type, pipeline_id=made)
    truth.ask("PUT", "/pipelines/{pipeline_id}", body={"config": config}, **none)
    jobs = "/pipelines/{pipeline_id}/jobs"
    job_id = truth.ask("POST", jobs, body={"environments": {"A": "1"}}, pipeline_id=made).json["id"]
    for body, media_type in (({"x": 1}, JSON), (b"[", JSON), (b"x", TEXT), (b"x" * (1024 * 1024 + 1), JSON)):
        truth.ask("POST", jobs, body=body, media_type=media_type, pipeline_id=made)
    truth.ask("POST", jobs, **none)
    for path in ("/pipelines/{pipeline_id}", jobs, f"{jobs}?limit=0", "/pipelines/{pipeline_id}?x=1"):
        truth.ask("GET", path, pipeline_id=made)
        truth.ask("GET", path, **none)
    truth.ask("GET", "/pipelines")
    truth.ask("GET", "/pipelines?limit=x")
    server.wait_output(job_id, "up")
    for path in (
        "activity",
        "details",
        "logs",
        "steps",
        "timeline",
        "logs/stream",
        "logs/stream?Range=bytes=1-",
    ):
        truth.ask("GET", f"/jobs/{{job_id}}/{path}", job_id=job_id)
    truth.ask("POST", "/jobs/{job_id}/retry", job_id=job_id)
    truth.ask("POST", "/jobs/{job_id}/cancel", job_id=job_id)
    for body, media_type in (
        ({"only": "x"}, JSON), (b"x", TEXT), (b"x" * (1024 * 1024 + 1), JSON),
    ):  # fmt: skip
        truth.ask("POST", "/jobs/{job_id}/retry", body=body, media_type=media_type, job_id=job_id)
    retried = truth.ask("POST", "/jobs/{job_id}/retry", body={"only": "failed"}, job_id=job_id).json["id"]
    truth.ask("POST", "/jobs/{job_id}/cancel", job_id=retried)
    for call in ("cancel", "retry"):
        truth.ask("POST", f"/jobs/{{job_id}}/{call}", job_id=10**9)
    truth.ask("DELETE", "/pipelines/{pipeline_id}", pipeline_id=made)
    truth.ask("DELETE", "/pipelines/{pipeline_id}", **none)
    truth.ask("DELETE", "/pipelines/{pipeline_id}?x=1", **none)
    documented = {
        (method, path, status)
        for method, path, operation in operations(document)
        for status in operation["responses"]
    }
    # What it takes to see these is in the tests of the engine that is away, of who may do what, and of how
    # many builds may wait.
    unseen = {
        (method, path, status)
        for method, path, status in documented
        if status in ("401", "403", "429") or path in ACCOUNTS or path in REPOSITORIES
    }
    assert documented - truth.seen == unseen | {
        ("get", "/ready", "503"),
        # A pipeline that stands in a repository
        ("put", "/pipelines/{pipeline_id}", "409"),
        # Builds of this server run as plain processes, which have no services.
        ("get", "/jobs/{job_id}/services/{name}/logs", "206"),
    }


def test_every_answer_about_users_and_secrets_is_as_documented(
    new_server: Callable[..., Server], document: dict[str, Any]
) -> None:
    server = new_server(executor="process").start()
    truth = Truth(server, document)
    truth.ask("POST", "/tokens", body={"name": "nobody's"})
    truth.ask("POST", "/users", body={"name": "root"})
    for body, media_type in (
        ({"name": "root", "role": "admin", "password": PASSWORD}, JSON),
        ({}, JSON),
    ):
        truth.ask("POST", "/users", body=body, media_type=media_type)
    truth.headers = {"Cookie": session_of(server, "root")}
    ids = {"user_id": truth.ask("POST", "/users", body={"name": "anna"}).json["id"], "name": "KEY"}
    ids["pipeline_id"] = truth.ask("POST", "/pipelines", body={"config": "name: a\nsteps: ['true']\n"}).json[
        "id"
    ]
    ids["token_id"] = truth.ask("POST", "/tokens", body={"name": "ci"}).json["id"]
    none = {"user_id": 10**9, "pipeline_id": 10**9, "token_id": 10**9, "name": "NONE"}
    good = {
        ("PUT", "/me/password"): {"password": PASSWORD, "new_password": PASSWORD},
        ("POST", "/users"): {"name": "anna"},
        ("PUT", "/users/{user_id}"): {"role": "builder"},
        ("POST", "/tokens"): {"name": "more"},
        ("PUT", "/secrets/{name}"): {"value": "a secret"},
        ("PUT", "/pipelines/{pipeline_id}/secrets/{name}"): {"value": "a secret"},
        ("PUT", "/pipelines/{pipeline_id}/visibility"): {"restricted": True, "users": ["anna"]},
    }
    calls = [(method.upper(), path) for path in ACCOUNTS for method in sorted(CALLS[path])[::-1]]
    for method, path in calls:
        for query in ("", "?unknown=1"):
            body = good.get((method, path))
            truth.ask(method, f"{path}{query}", body=body, **ids)
            truth.ask(method, f"{path}{query}", body=body, **none)
        if (method, path) in good:
            for wrong, media_type in (
                (b"[", JSON),
                (b"{}", TEXT),
                ({"x": 1}, JSON),
                (b"x" * (1024 * 1024 + 1), JSON),
            ):
                truth.ask(method, path, body=wrong, media_type=media_type, **ids)
        truth.headers, headers = {}, truth.headers
        assert truth.ask(method, path, body=good.get((method, path)), **ids).status == 401
        truth.headers = {**headers, "Host": "elsewhere.example"}
        assert truth.ask(method, path, body=good.get((method, path)), **ids).status == 403
        truth.headers = headers
    truth.ask("GET", "/audit?limit=1")
    truth.ask("DELETE", "/secrets/{name}", name="NEVER")
    for _ in range(9):
        truth.ask("PUT", "/me/password", body={"password": "wrong", "new_password": PASSWORD})
    documented = {
        (method, path, status)
        for method, path, operation in operations(document)
        for status in operation["responses"]
        if path in ACCOUNTS
    }
    # A secret that is not there is made.
    assert documented - truth.seen == {("put", "/secrets/{name}", "404")}


def test_every_answer_about_repositories_is_as_documented(
    new_server: Callable[..., Server], document: dict[str, Any], repo: Repo, tmp_path: Path
) -> None:
    server = new_server(
        executor="process", file_roots=str(repo.path.parent), hook_body_limit="64k", upload_limit="64k"
    ).start()
    truth = Truth(server, document)
    repo.commit({".rapidflow/one.yml": definition("one"), ".rapidflow/two.yml": "name: two\nstep: []\n"})
    added = truth.ask("POST", "/repositories", body={"url": repo.url}).json
    assert added["problems"][0]["path"] == ".rapidflow/two.yml"
    ids: dict[str, Any] = {
        "repository_id": added["id"],
        "pipeline_id": added["pipelines"][0]["id"],
        "delivery_id": 1,
    }
    ids["key"] = added["hook_url"].rpartition("/")[2]
    truth.ask("POST", "/repositories", body={"url": repo.url})
    truth.ask("PUT", "/pipelines/{pipeline_id}", body={"config": "name: a\nsteps: ['true']\n"}, **ids)

    def delivery(body: bytes, secret: str = added["hook_secret"], event: str = "push") -> Answer:
        headers = dict(payloads.headers_for("github", event, body, secret))
        headers["X-GitHub-Delivery"] = str(len(truth.seen)) + event + secret[:3]
        return truth.ask("POST", HOOK, body=body, more=headers, **ids)

    def handled(answer: Answer) -> None:
        wait_for(lambda: server.get(f"/deliveries/{answer.json['delivery']}").json["handled_at"], "handled")

    repo.git("update-ref", "refs/pull/1/head", repo.git("commit-tree", "-m", "more", "HEAD^{tree}"))
    fork = repo.git("rev-parse", "refs/pull/1/head")
    truth.ask("PUT", "/repositories/{repository_id}", body={"poll": "10s", "forks": "approve"}, **ids)
    handled(delivery(json.dumps(payloads.payload("github-push")).encode()))
    delivery(b"{}", event="ping")
    assert delivery(b"{}", secret="wrong").status == 401
    delivery(b"{")
    delivery(b"x" * (64 * 1024 + 1))
    truth.ask("POST", HOOK, body=b"{}", key="nothing")
    refs, lines = "/repositories/{repository_id}/refs", f"{ZERO} {fork} refs/heads/main\n".encode()
    truth.ask("POST", refs, body=b"x" * (1024 * 1024 + 1), media_type=TEXT, **ids)
    truth.ask("POST", refs, body=b"lines", media_type=TEXT, **ids)
    handled(truth.ask("POST", refs, body=lines, media_type=TEXT, **ids))
    assert events(server, added["id"])
    truth.ask("POST", "/deliveries/{delivery_id}/replay", **ids)
    truth.ask("POST", "/deliveries/{delivery_id}/replay?dry_run=true", **ids)
    truth.ask("POST", "/deliveries/{delivery_id}/replay?dry_run=x", **ids)
    for query in ("ref=main", "ref=nothing", "commit=" + fork):
        truth.ask("GET", f"/pipelines/{{pipeline_id}}/explain?{query}", **ids)
    started = server.post(f"/pipelines/{ids['pipeline_id']}/jobs", {"commit": fork})
    ids["job_id"] = started.json["id"]
    wait_for(lambda: "approval" in (server.job(ids["job_id"])["waits_for"] or ""), "it waits for approval")
    for call in ("/jobs/{job_id}/approve", "/jobs/{job_id}/reject"):
        truth.ask("POST", call, body={"commit": ZERO}, **ids)
    for wrong, media_type in (({}, JSON), (b"[", JSON), (b"x", TEXT), (b"x" * (1024 * 1024 + 1), JSON)):
        for call in ("/jobs/{job_id}/approve", "/jobs/{job_id}/reject"):
            truth.ask("POST", call, body=wrong, media_type=media_type, **ids)
        truth.ask("POST", "/repositories", body=wrong, media_type=media_type)
        body = {"poll": "never"} if wrong == {} else wrong
        truth.ask("PUT", "/repositories/{repository_id}", body=body, media_type=media_type, **ids)
    truth.ask("POST", "/jobs/{job_id}/approve", body={"commit": fork}, **ids)
    again = server.post(f"/pipelines/{ids['pipeline_id']}/jobs", {"commit": fork}).json["id"]
    wait_for(lambda: "approval" in (server.job(again)["waits_for"] or ""), "it waits for approval")
    truth.ask("POST", "/jobs/{job_id}/reject", body={"commit": fork}, job_id=again)
    commit, tree = pack(tmp_path / "tree", {"a": "a"})
    uploads, binary = f"/pipelines/{{pipeline_id}}/uploads?commit={commit}", "application/octet-stream"
    while truth.ask("POST", uploads, body=tree, media_type=binary, **ids).status != 429:
        pass
    server.stop()
    server.sql("DELETE FROM upload")
    server.start()
    truth.ask("POST", uploads, body=b"x" * (64 * 1024 + 1), media_type=binary, **ids)
    tag = truth.ask("GET", BADGE, **ids).headers["etag"]
    truth.ask("GET", BADGE, more={"If-None-Match": tag}, **ids)
    truth.ask("POST", "/repositories/{repository_id}/secret", **ids)
    truth.ask("POST", "/repositories/{repository_id}/poll", **ids)
    none: dict[str, Any] = dict.fromkeys(ids, 10**9)
    for path in REPOSITORIES:
        for method in (method.upper() for method in CALLS[path] if method != "delete"):
            body = {"commit": ZERO} if path.startswith("/jobs/") else {} if method == "PUT" else None
            if path.endswith("/explain"):
                truth.ask(method, f"{path}?ref=main", **none)
            elif path != HOOK:
                truth.ask(
                    method,
                    path,
                    body=lines if body is None and path.endswith(("/refs", "/uploads")) else body,
                    media_type=JSON if body is not None else TEXT,
                    **none,
                )
            if path not in (BADGE, HOOK):
                truth.ask(method, f"{path}?unknown=1", body=body, **ids)
            if method == "GET":
                truth.ask(method, path, **ids)
    truth.ask("POST", "/repositories/{repository_id}/connect", **ids)
    repo.path.rename(repo.path.with_name("elsewhere"))
    truth.ask("POST", "/repositories/{repository_id}/poll", **ids)
    for query in ("?unknown=1", "", ""):
        truth.ask("DELETE", f"/repositories/{{repository_id}}{query}", **ids)
    documented = {
        (method, path, status)
        for method, path, operation in operations(document)
        for status in operation["responses"]
        if path in REPOSITORIES and status not in ("401", "403")
    }
    # What connects has an API, which is in the tests of forges. A conflict takes two requests at once, which
    # are in the tests of the repository's page.
    connected = ("post", "/repositories/{repository_id}/connect", "200")
    conflict = ("post", "/repositories/{repository_id}/secret", "409")
    assert documented - truth.seen == {connected, conflict}
    assert ("post", HOOK, "401") in truth.seen

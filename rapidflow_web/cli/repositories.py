"""The commands on repositories: what the server listens to, what came, what it meant."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.builds import pipeline_id
from rapidflow_web.cli.client import Client, ClientError, asks_server
from rapidflow_web.cli.lookups import all_repositories
from rapidflow_web.forges import post_receive
from rapidflow_web.forges.shapes import NAMES
from rapidflow_web.terminal import note, out, safe

_TOKEN = "RAPIDFLOW_FORGE_TOKEN"  # noqa: S105
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_HANDLED_SECONDS = 60
_repo = click.argument("repository", metavar="URL|ID")
_limit = click.option(
    "-n", "--limit", type=int, default=20, show_default=True, metavar="N", help="At most N."
)
_forge = click.option("--forge", type=click.Choice(NAMES), help="The forge. Default: guessed from the URL.")
_token = click.option(
    "--token", metavar="TOKEN", help=f"A token of the forge; - reads standard input. Default: {_TOKEN}."
)


@click.command
@click.argument("url", metavar="URL")
@_forge
@_token
@asks_server
def add(client: Client, url: str, forge: str | None, token: str | None) -> int:
    """Add a repository, and make pipelines of its definition files.

    These are .rapidflow.yml, or all of .rapidflow/*.yml, of the default branch. Nothing is built
    before the next push.
    """
    _refuse_path(url)
    added = _added(client, url, forge, _token_of(token))
    if added["forge"] == "git":
        out(f"Next: 'rapidflow connect {added['id']}' says how a push starts a build at once.")
        out(f"Without it, the repository is polled every {added['poll']}.")
        out("If you send signed webhooks instead:")
        _print_webhook(added)
    else:
        _print_webhook(added)
        out(f"Next: 'rapidflow connect {added['id']} --token -' makes the webhook at {added['forge']}.")
        out(f"Without it, the repository is polled every {added['poll']}.")
    return 0


@click.command
@_repo
@_forge
@_token
@asks_server
def connect(client: Client, repository: str, forge: str | None, token: str | None) -> int:
    """Make the webhook of a repository at its forge, or say what to do.

    A repository that is not there yet is added. The token is stored encrypted, and also serves to show
    the status of builds at the forge.
    """
    given = _token_of(token)
    found = _find(client, repository)
    if found is None:
        if repository.isdigit():
            raise ClientError(f"there is no repository {repository}; 'rapidflow repositories' lists them")
        _refuse_path(repository)
        found = _added(client, repository, forge, given)
        if found["forge"] != "git":
            _print_webhook(found)
    else:
        changes = {key: value for key, value in (("forge", forge), ("token", given)) if value is not None}
        if changes:
            path = f"/repositories/{found['id']}"
            found = client.call("PUT", path, changes, shape=response_shapes.REPOSITORY)
    if found["forge"] == "git":
        _print_hook(client, found)
        return 0
    answer = client.call("POST", f"/repositories/{found['id']}/connect", shape=response_shapes.MESSAGE)
    out(answer["message"])
    return 0


@click.command
@asks_server
def repositories(client: Client) -> int:
    """List the repositories, newest first."""
    row = "{:>10}  {:<9}  {:<9}  {:<6}  {:<40}  {}"
    out(row.format("REPOSITORY", "FORGE", "CONNECTED", "POLL", "PIPELINES", "URL"))
    listed = all_repositories(client)
    if not listed:
        note("there are no repositories; 'rapidflow add URL' adds one")
    for one in listed:
        names = ", ".join(f"{pipeline['id']} {pipeline['name']}" for pipeline in one["pipelines"])
        connected = "yes" if one["connected"] else "no"
        out(row.format(one["id"], one["forge"], connected, one["poll"], safe(names)[:40], safe(one["url"])))
        _say_problems(one)
    return 0


@click.command
@_repo
@_limit
@asks_server
def events(client: Client, repository: str, limit: int) -> int:
    """List what happened at a repository, and what was built for it or why not."""
    found = _existing(client, repository)
    names = _names(found)
    path = f"/repositories/{found['id']}/events?{urlencode({'limit': limit})}"
    listed = client.call("GET", path, shape=response_shapes.EVENTS)
    if not listed:
        note("there are no events")
    for event in listed:
        who = f" by {event['sender']}" if event["sender"] else ""
        out(f"{event['at']}  {_what(event)}  {event['source']}{who}  {event['title'] or ''}".rstrip())
        _print_decisions(event["decisions"], names)
    return 0


@click.command
@_repo
@_limit
@asks_server
def deliveries(client: Client, repository: str, limit: int) -> int:
    """List the deliveries to a repository, and what came of them."""
    found = _existing(client, repository)
    path = f"/repositories/{found['id']}/deliveries?{urlencode({'limit': limit})}"
    row = "{:>8}  {:<20}  {:<24}  {:>6}  {}"
    out(row.format("DELIVERY", "CAME", "EVENT", "ANSWER", "RESULT"))
    listed = client.call("GET", path, shape=response_shapes.DELIVERIES)
    if not listed:
        note("there are no deliveries")
    for one in listed:
        result = safe(one["outcome"] or one["reason"] or ("handled" if one["handled_at"] else "waiting"))
        out(row.format(one["id"], one["at"], safe(one["event"] or "-")[:24], one["status"], result))
    return 0


@click.command
@click.argument("delivery", metavar="DELIVERY")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@asks_server
def replay(client: Client, delivery: str, dry_run: bool) -> int:
    """Replay a delivery and start the resulting builds."""
    path = f"/deliveries/{quote(delivery, safe='')}/replay"
    answer = client.call(
        "POST", f"{path}?dry_run=true" if dry_run else path, also=(202,), shape=response_shapes.REPLAYED
    )
    if dry_run:
        _print_events(answer["events"])
        return 0
    out(f"delivery {answer['delivery']} repeats delivery {delivery}")
    deadline = time.monotonic() + _HANDLED_SECONDS
    while time.monotonic() < deadline:
        made = client.call("GET", f"/deliveries/{answer['delivery']}", shape=response_shapes.DELIVERY)
        if made["handled_at"] is not None:
            if made["outcome"]:
                out(made["outcome"])
            _print_events(made["events"])
            return 0
        time.sleep(0.2)
    out("it is not handled yet")
    return 0


@click.command
@click.argument("pipeline", metavar="PIPELINE")
@click.argument("what", metavar="[REF|COMMIT]", required=False)
@asks_server
def explain(client: Client, pipeline: str, what: str | None) -> int:
    """Say why a branch, tag or commit was built by a pipeline or not.

    PIPELINE is an id or a name. Without REF or COMMIT, that is said of the default branch. What looks like
    the hash of a commit is taken for one; write refs/heads/NAME for a branch that is called so.
    """
    number = pipeline_id(client, pipeline)
    if what is None:
        what = next(
            (one["default_branch"] for one in all_repositories(client) if int(number) in _names(one)), None
        )
        if what is None:
            raise ClientError(f"pipeline {number} stands in no repository; say which REF or COMMIT is meant")
    query = {"commit" if _COMMIT.fullmatch(what) else "ref": what}
    path = f"/pipelines/{number}/explain?{urlencode(query)}"
    for one in client.call("GET", path, shape=response_shapes.EXPLANATIONS):
        when, commit = one.get("at") or "judged now", (one["commit"] or "-")[:12]
        job = f" (job {one['job_id']})" if one.get("job_id") else ""
        outcome = "would be built" if one["outcome"] == "built" and not one.get("at") else one["outcome"]
        out(f"{when}  {one['ref'] or '-'}  {commit}  {outcome}: {one['reason']}{job}")
    return 0


def _refuse_path(url: str) -> None:
    """Raises `ClientError` for the path of a local repository, which the server takes only as a URL."""
    if "://" not in url and (url.startswith("/") or Path(url).is_dir()):
        raise ClientError(f"use {Path(os.path.normpath(Path(url).absolute())).as_uri()}")


def _added(client: Client, url: str, forge: str | None, token: str | None) -> dict[str, Any]:
    """Adds a repository, and prints what was found and what is shown only now."""
    body = {"url": url, "forge": forge, "token": token}
    wanted = {key: value for key, value in body.items() if value is not None}
    added = client.call("POST", "/repositories", wanted, shape=response_shapes.ADDED)
    out(
        f"repository {added['id']} added: {added['url']} ({added['forge']}, branch {added['default_branch']})"
    )
    for pipeline in added["pipelines"]:
        out(f"  pipeline {pipeline['id']} '{pipeline['name']}' of {pipeline['path']}")
    _say_problems(added)
    if not added["pipelines"] and not added["problems"]:
        out("  no definition: push a file .rapidflow.yml, and its pipeline is made")
    return added


def _print_webhook(added: dict[str, Any]) -> None:
    out(f"  webhook {added['hook_url']}")
    out(f"  secret  {added['hook_secret']} (shown only now)")


def _say_problems(repository: dict[str, Any]) -> None:
    for problem in repository["problems"]:
        path, message = problem["path"], problem["message"]
        note(f"  problem: {message if message.startswith(path) else f'{path}: {message}'}")
    if repository["poll_error"]:
        note(f"  problem: {repository['poll_error']}")


def _print_hook(client: Client, repository: dict[str, Any]) -> None:
    """Says how a repository without a forge tells of pushes."""
    base = repository["hook_url"].rpartition("/hooks/")[0]
    needs_token = client.call("GET", "/me", shape=response_shapes.ME)["name"] is not None
    out("Put these lines into hooks/post-receive of the repository, and make it executable:")
    out("")
    for line in post_receive.script(base, repository["id"], with_token=needs_token).splitlines():
        out(line)
    out("")
    if needs_token:
        out("TOKEN is one of a builder: 'rapidflow token add USER post-receive --role builder' makes it.")
    out(f"Without the hook, the repository is polled every {repository['poll']}.")


def _print_events(events: Sequence[dict[str, Any]]) -> None:
    if not events:
        out("nothing happened: no branch or tag has a new value")
    for event in events:
        out(_what(event))
        _print_decisions(event["decisions"], {})


def _print_decisions(decisions: Sequence[dict[str, Any]], names: Mapping[int, str]) -> None:
    for one in decisions:
        number = one["pipeline_id"]
        name = names.get(number, f"pipeline {number}" if number is not None else "a new pipeline")
        job = f" (job {one['job_id']})" if one.get("job_id") else ""
        out(f"    {name}: {one['outcome']}: {one['reason']}{job}")


def _what(event: dict[str, Any]) -> str:
    return f"{event['kind']}  {event['ref'] or '-'}  {(event['after'] or '-')[:12]}"


def _names(repository: dict[str, Any]) -> dict[int, str]:
    return {one["id"]: one["name"] for one in repository["pipelines"]}


def _token_of(given: str | None) -> str | None:
    """The token for the forge: as an argument, of the environment, or a line of standard input."""
    if given != "-":
        return given or os.environ.get(_TOKEN) or None
    return sys.stdin.readline().strip() or None


def _existing(client: Client, named: str) -> dict[str, Any]:
    found = _find(client, named)
    if found is None:
        raise ClientError(f"there is no repository {named}; 'rapidflow repositories' lists them")
    return found


def _find(client: Client, named: str) -> dict[str, Any] | None:
    """The repository with this id or URL."""
    from rapidflow_web.pipeline.clone_credentials import without_password

    url = without_password(named).rstrip("/")
    return next(
        (one for one in all_repositories(client) if str(one["id"]) == named or one["url"] == url), None
    )

"""The keys of the pipeline language: the one list, from which the parser and the editor have them.

A place is where keys can stand, such as a step or what is below `on`. `docs/pipelines.md` describes the
same keys.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from rapidflow_web.pipeline.images import LANGUAGES
from rapidflow_web.pipeline.triggers import ACTIONS, EVENTS, OCCASIONS

_BOOLEANS = {"true": "", "false": ""}


@dataclass(frozen=True, slots=True)
class Key:
    """A key: what it means in a sentence, and what can follow it.

    `form` is how its value is usually written, `inside` the place whose keys the value has, or each item of
    it. `values` maps words that the value can be to what they mean, which may be empty.
    """

    meaning: str
    form: Literal["text", "mapping", "list"] = "text"
    inside: str = ""
    values: Mapping[str, str] = field(default_factory=dict[str, str])


ON = {
    "push": Key("Pushes to branches.", "mapping", "push"),
    "tag": Key("Tags that start a build."),
    "pull_request": Key("Pull requests that are opened or changed.", "mapping", "pull_request"),
    "schedule": Key("Times at which builds start.", "list", "schedule"),
}
_EVENTS_ALONE = {name: key.meaning for name, key in ON.items() if name != "schedule"}
"""What can stand after `on` itself, without filters."""
PIPELINE = {
    "name": Key("The display name."),
    "labels": Key("Up to 20 words, of at most 50 characters each", "list"),
    "repo_name": Key("The clone URL"),
    "branch": Key("The branch to build."),
    "folder": Key("The working folder of the steps, inside the repository."),
    "language": Key("The language; with version it picks the image.", values=dict.fromkeys(LANGUAGES, "")),
    "version": Key("The version of the language."),
    "image": Key("The image that the build runs in."),
    "expose_ports": Key("Publish the port in the variable PORT on loopback", values=_BOOLEANS),
    "network": Key("none for no network.", values={"none": "no network"}),
    "new_privileges": Key(
        "Allow sudo, su and the like in the image to give a step more rights", values=_BOOLEANS
    ),
    "on_node": Key("Labels that the machine must have", "mapping"),
    "env": Key("Variables for the steps.", "mapping"),
    "secrets": Key("Names of secrets that steps receive as variables", "list"),
    "timeout": Key("The time limit of the build: 90s, 30m, 1h30m, or a number of seconds."),
    "silence_timeout": Key("The time that a step may be silent before the build fails."),
    "memory": Key("The memory limit, without swap: 512m, 2g."),
    "shm": Key("The size of /dev/shm."),
    "cpus": Key("The number of CPUs: 2, 0.5."),
    "processes": Key("The maximum number of processes and threads at once."),
    "log_limit": Key("The log size above which only the end of each step's output is kept"),
    "on": Key("What starts builds besides people and programs.", "mapping", "on", _EVENTS_ALONE),
    "concurrency": Key("The group of which one build runs at a time.", "mapping", "concurrency"),
    "notify": Key("Who is told how builds end.", "list", "notify"),
    "services": Key("Containers beside the steps, such as a database.", "mapping", "services"),
    "steps": Key("The steps, run in this order.", "list", "step"),
    "post": Key("Steps that run at the end, however the others ended", "list", "step"),
    "post_timeout": Key("The time limit of post."),
    "jobs": Key("Several jobs, each in a container of its own; instead of steps.", "mapping", "jobs"),
}
_ALSO_OF_JOBS = (
    "folder", "language", "version", "image", "expose_ports", "network", "new_privileges", "on_node", "env",
    "secrets", "timeout", "silence_timeout", "memory", "shm", "cpus", "processes", "log_limit", "concurrency",
    "services", "steps", "post", "post_timeout",
)  # fmt: skip
JOB = {
    "needs": Key("The jobs that must have succeeded before it begins.", "list", "need"),
    "if": Key("The condition under which it runs: branch == 'main'."),
    "matrix": Key("Values for each combination of which it is built", "mapping"),
    "max_parallel": Key("How many parts of the matrix run at once."),
    "fail_fast": Key("Whether the first part that fails ends the others of the matrix.", values=_BOOLEANS),
    "approval": Key("Whether somebody must approve it before it begins.", values=_BOOLEANS),
    "priority": Key("Which of the jobs that wait begins first: a higher one."),
    "retry": Key("How often, and after which failures, it runs again.", "mapping", "retry"),
    "allow_failure": Key("Which failures don't fail the build.", "mapping", "allow_failure", _BOOLEANS),
    **{name: PIPELINE[name] for name in _ALSO_OF_JOBS},
}
NEED = {
    "job": Key("The name of a job."),
    "optional": Key("Whether it is enough that it has ended.", values=_BOOLEANS),
}
RETRY = {
    "max": Key("How often it runs again at most."),
    "exit_codes": Key("After which exit codes of a step.", "list"),
    "when": Key(
        "After which other failures.",
        "list",
        values={
            "engine_lost": "the engine or its container was lost",
            "service_failed": "a service did not come up or ended",
            "timeout": "a time limit was reached",
        },
    ),
}
ALLOW_FAILURE = {"exit_codes": Key("The exit codes of a step that don't fail the build.", "list")}
SERVICE = {
    "image": Key("The image of the service."),
    "env": Key("Variables for the service.", "mapping"),
    "ports": Key("The ports that listen once it is ready.", "list"),
    "ready": Key("A script that succeeds once the service is ready."),
    "ready_timeout": Key("The time within which it must be ready."),
    "command": Key("A script run by sh in place of what the image starts."),
}
STEP = {
    "name": Key("The display name."),
    "content": Key("The script."),
    "type": Key("bash or sh.", values={"bash": "", "sh": ""}),
    "files": Key("Files written into the working folder before the step", "mapping"),
    "when": Key("When the step runs.", "mapping", "when"),
}
PUSH = {
    "branches": Key("The branches that are built."),
    "paths": Key("Only if one of these files changed."),
}
PULL_REQUEST = {
    "branches": Key("The target branches."),
    "types": Key("What happened to the pull request.", "list", values=dict.fromkeys(ACTIONS, "")),
    "draft": Key("false leaves drafts out.", values=_BOOLEANS),
    "paths": Key("Only if one of these files changed."),
}
SCHEDULE = {
    "name": Key("A name to tell two schedules apart."),
    "cron": Key("Minute, hour, day of the month, month, day of the week: 'H 3 * * 1-5'."),
    "timezone": Key("The time zone, by default UTC: Europe/Berlin."),
    "branch": Key("The branch to build."),
}
WHEN = {
    "event": Key("Only for these events.", values=dict.fromkeys(EVENTS, "")),
    "branches": Key("Only on these branches."),
    "tags": Key("Only for these tags."),
    "paths": Key("Only if one of these files changed."),
    "status": Key(
        "After which steps it runs.",
        values={"success": "until a step fails", "failure": "once one has failed", "always": "in both cases"},
    ),
}
CONCURRENCY = {
    "group": Key("The name of the group, such as ${{ pipeline }}-${{ ref }}."),
    "when_busy": Key(
        "What happens while a build of the group runs.",
        values={
            "queue": "others wait, in their order",
            "replace": "the newest replaces those that wait",
            "cancel": "the newest cancels the one that runs, and those that wait",
        },
    ),
}
TARGETS = {
    "mail": Key("A mail address."),
    "webhook": Key("The name of a secret with a URL."),
    "slack": Key("The name of a secret with the URL of an incoming webhook."),
    "ntfy": Key("The name of a secret with the URL of a topic."),
}
NOTIFY = {
    **TARGETS,
    "when": Key("After which builds a message is sent.", values=dict.fromkeys(OCCASIONS, "")),
}

ANY_NAME = "*"
"""The key of a place where keys are names that the definition chooses."""

PLACES: Mapping[str, Mapping[str, Key]] = {
    "pipeline": PIPELINE,
    "step": STEP,
    "on": ON,
    "push": PUSH,
    "pull_request": PULL_REQUEST,
    "schedule": SCHEDULE,
    "when": WHEN,
    "concurrency": CONCURRENCY,
    "notify": NOTIFY,
    "job": JOB,
    "need": NEED,
    "retry": RETRY,
    "allow_failure": ALLOW_FAILURE,
    "service": SERVICE,
    # A mapping of names that the author chooses.
    "jobs": {ANY_NAME: Key("A job, by its name.", "mapping", "job")},
    "services": {ANY_NAME: Key("A service, by its name.", "mapping", "service")},
}

_CALLED = {
    "pipeline": "the pipeline",
    "job": "a job",
    "step": "a step",
    "service": "a service",
    "need": "an item of 'needs'",
    "notify": "an item of 'notify'",
}


def where_allowed(key: str) -> str:
    """The end of a sentence about a key that stands where it can't: where it can; empty if nowhere."""
    places = [
        _CALLED.get(place, f"'{place}'") for place, keys in PLACES.items() if key in keys and key != ANY_NAME
    ]
    if not places:
        return ""
    *others, last = places
    return f"; it is a key of {', '.join(others)}{' or ' if others else ''}{last}"


@functools.cache
def as_json() -> str:
    """`PLACES`, for programs that help to write definitions: of each key what a `Key` has."""
    places = {place: {name: asdict(key) for name, key in keys.items()} for place, keys in PLACES.items()}
    return json.dumps(places, separators=(",", ":"))

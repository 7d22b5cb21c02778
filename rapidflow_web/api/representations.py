"""Makes what the API sends. The order of keys is part of the contract; `schemas.py` documents the shapes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rapidflow_web.api.output import LongText, Output
from rapidflow_web.builds.activity import Activity
from rapidflow_web.builds.queue import NodeLoad
from rapidflow_web.builds.timeline import Phase
from rapidflow_web.builds.waiting import Running, waits_for
from rapidflow_web.db.job_lists import JobRow
from rapidflow_web.db.models import AuditEntry, Environment, Job, Pipeline, Secret, Step, Token, User
from rapidflow_web.db.parts import part_row
from rapidflow_web.db.trigger_models import Upload
from rapidflow_web.logs.log import Log


def time(milliseconds: int | None) -> str | None:
    """A time as the API writes it."""
    return None if milliseconds is None else _second(milliseconds // 1000)


@functools.lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def upload(row: Upload) -> dict[str, Any]:
    """An upload."""
    return {
        "id": row.id,
        "pipeline_id": row.pipeline_id,
        "commit": row.commit,
        "size": row.size,
        "created_at": time(row.created_at),
    }


def job(
    row: Job | JobRow,
    running: Running | None = None,
    reason: Callable[[str | None], str | None] | None = None,
) -> dict[str, Any]:
    """A job. One that may wait needs those that are `running` (see `running_before`) and `Queue.reason`."""
    return {
        "id": row.id,
        "pipeline_id": row.pipeline_id,
        "status": row.status,
        "branch": row.branch,
        "repo_name": row.repo_name,
        "language": row.language,
        "version": row.version,
        "folder": row.folder,
        "expose_ports": row.expose_ports,
        "cancelled": row.cancelled,
        "container_id": row.container_id,
        "created_at": time(row.created_at),
        "started_at": time(row.started_at),
        "finished_at": time(row.finished_at),
        "error": row.error,
        "commit": row.commit,
        "retry_of": row.retry_of,
        "ports": row.ports,
        "image": row.image,
        "started_by": row.started_by,
        "event": row.event,
        "ref": row.ref,
        "title": row.title,
        "author": row.author,
        "pull_request": row.pull_request,
        "superseded_by": row.superseded_by,
        "waits_for": waits_for(row, running or {}, reason),
        **({"parts": row.parts} if row.parts is not None else {}),
        **(_part_of(row) if row.lead_id is not None else {}),
        **({"node": row.node_name} if row.node_name is not None else {}),
    }


def node(load: NodeLoad, jobs: Sequence[int]) -> dict[str, Any]:
    """A machine with the jobs that run there."""
    one = load.node
    return {
        "id": one.id,
        "name": one.name,
        "reachable": one.reachable,
        "problem": one.problem,
        "labels": dict(one.labels),
        "slots": one.slots,
        "taken": load.taken,
        "parked": one.parked,
        "jobs": list(jobs),
    }


def _part_of(row: Job | JobRow) -> dict[str, Any]:
    return {"lead_id": row.lead_id, "part": row.part, "attempt": row.attempt}


def pipeline(row: Pipeline) -> dict[str, Any]:
    """A pipeline with its definition."""
    return {
        "id": row.id,
        "name": row.definition.name,
        "config": row.definition.config,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
        "repository_id": row.repository_id,
        "path": row.path,
    }


def snapshot(row: Job) -> dict[str, Any]:
    """The pipeline that a job ran with."""
    return {"id": row.pipeline_id, "name": row.definition.name, "config": row.definition.config}


def environment(row: Environment) -> dict[str, Any]:
    """A variable of a job."""
    return {"id": row.id, "job_id": row.job_id, "key": row.key, "value": row.value}


def phase(entry: Phase) -> dict[str, Any]:
    """A phase of a job's timeline."""
    return {
        "name": entry.name,
        "started_at": time(entry.started_at),
        "finished_at": time(entry.finished_at),
        "duration_ms": None if entry.finished_at is None else entry.finished_at - entry.started_at,
        "detail": entry.detail,
        "failed": entry.failed,
    }


def activity(job_id: int, now: Activity | None, unheard: str | None) -> dict[str, Any]:
    """What a build does now; `unheard` is why its machine does not tell."""
    processes = now.processes if now is not None else None
    return {
        "job_id": job_id,
        "step_id": now.step_id if now is not None else None,
        "silent_ms": now.silent if now is not None else None,
        "longest_silence_ms": now.longest if now is not None else None,
        "stalled": now is not None and now.stalled,
        "processes": None if processes is None else [asdict(process) for process in processes],
        "waits_for": unheard,
    }


def step(row: Step, log: Log, lines: Mapping[str, bytes] | None = None) -> dict[str, Any]:
    """A step. One that stands for a part of a build has its output from the `lines` of the log, by part."""
    return {
        "id": row.id,
        "job_id": row.job_id,
        "order_num": row.order_num,
        "type": row.type,
        "content": row.content,
        "status": row.status,
        "output": _output(row, log, lines),
        "created_at": time(row.created_at),
        "name": row.name,
        "exit_code": row.exit_code,
        "started_at": time(row.started_at),
        "finished_at": time(row.finished_at),
        "skipped": row.skipped,
        **({"post": True} if row.post else {}),
        **({"part": _part(row)} if row.part is not None else {}),
    }


def _output(row: Step, log: Log, lines: Mapping[str, bytes] | None) -> Output | LongText:
    return Output(log, row.id) if row.part is None else LongText((lines or {}).get(row.content, b""))


def _part(row: Step) -> dict[str, Any]:
    part = part_row(row)
    return {
        "job_id": part.job_id,
        "attempt": part.attempt,
        "needs": list(part.needs),
        "state": part.state,
        "reason": part.reason,
    }


def step_log(
    row: Step, log: Log, lines: Mapping[str, bytes] | None = None, *, with_job: bool
) -> dict[str, Any]:
    """One step's log."""
    return {
        "step_id": row.id,
        **({"job_id": row.job_id} if with_job else {}),
        "order_num": row.order_num,
        "type": row.type,
        "content": row.content,
        "status": row.status,
        "output": _output(row, log, lines),
        "created_at": time(row.created_at),
    }


def user(row: User) -> dict[str, Any]:
    """A user."""
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "has_password": row.password is not None,
        "created_at": time(row.created_at),
    }


def token(row: Token) -> dict[str, Any]:
    """A token, without what it is shown by."""
    return {
        "id": row.id,
        "user": row.user.name,
        "name": row.name,
        "role": row.role,
        "pipelines": row.pipelines,
        "created_at": time(row.created_at),
        "expires_at": time(row.expires_at),
        "used_at": time(row.used_at),
    }


def secret(row: Secret) -> dict[str, Any]:
    """A secret, without its value."""
    return {"name": row.name, "updated_at": time(row.updated_at), "updated_by": row.updated_by}


def audit_entry(row: AuditEntry) -> dict[str, Any]:
    """A line of the audit log."""
    return {
        "id": row.id,
        "at": time(row.at),
        "actor": row.actor,
        "address": row.address,
        "action": row.action,
        "target": row.target,
        "status": row.status,
        "count": row.count,
    }

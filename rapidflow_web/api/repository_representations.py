"""Makes what the API sends of repositories, deliveries and events; `repository_schemas.py` has the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rapidflow_web.api.output import LongText
from rapidflow_web.api.representations import time
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.trigger_models import Decision, Delivery, Event, Repository
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.triggers.explaining import Explanation
from rapidflow_web.triggers.judging import Judgement

__all__ = ["delivery", "delivery_summary", "event", "explanation", "foreseen", "repository"]


def repository(
    row: Repository,
    pipelines: Sequence[Pipeline],
    problems: Sequence[dict[str, str]],
    hook_url: str,
    hook_secret: str | None = None,
) -> dict[str, Any]:
    """A repository."""
    secret = {} if hook_secret is None else {"hook_secret": hook_secret}
    return {
        "id": row.id,
        "url": row.url,
        "forge": row.forge,
        "default_branch": row.default_branch,
        "hook_url": hook_url,
        **secret,
        "connected": row.hook_id is not None,
        "poll": "off" if row.poll is None else format_duration(row.poll),
        "pipelines": [{"id": one.id, "name": one.definition.name, "path": one.path} for one in pipelines],
        "problems": list(problems),
        "forks": row.forks,
        "secrets": row.secrets,
        "polled_at": time(row.polled_at),
        "poll_error": row.poll_error,
        "created_at": time(row.created_at),
    }


def event(row: Event, decisions: Sequence[Decision]) -> dict[str, Any]:
    """An event."""
    return {
        "id": row.id,
        "kind": row.kind,
        "ref": row.ref,
        "before": row.before,
        "after": row.after,
        "source": row.source,
        "sender": row.sender,
        "title": row.title,
        "at": time(row.at),
        "decisions": [
            {
                "pipeline_id": one.pipeline_id,
                "outcome": one.outcome,
                "reason": one.reason,
                "job_id": one.job_id,
            }
            for one in decisions
        ],
    }


def delivery_summary(row: Delivery) -> dict[str, Any]:
    """A delivery in a list."""
    return {
        "id": row.id,
        "repository_id": row.repository_id,
        "key": row.key,
        "event": row.event,
        "size": row.size,
        "at": time(row.at),
        "status": row.status,
        "reason": row.reason,
        "replay_of": row.replay_of,
        "handled_at": time(row.handled_at),
        "outcome": row.outcome,
    }


def delivery(row: Delivery, events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A delivery with all that is kept of it."""
    body = None if row.body is None else LongText(bytes(row.body))
    return {**delivery_summary(row), "headers": row.headers, "body": body, "events": list(events)}


def foreseen(judgement: Judgement) -> dict[str, Any]:
    """An event that would be made."""
    occurrence, commit = judgement.occurrence, judgement.commit
    return {
        "kind": occurrence.kind,
        "ref": occurrence.ref,
        "before": occurrence.before,
        "after": commit.id if commit is not None else occurrence.after,
        "decisions": [
            {"pipeline_id": one.pipeline_id, "outcome": one.outcome, "reason": one.reason}
            for one in judgement.verdicts
        ],
    }


def explanation(found: Explanation) -> dict[str, Any]:
    """Why something was built or not."""
    return {
        "ref": found.ref,
        "commit": found.commit,
        "at": time(found.at),
        "stored": found.stored,
        "outcome": found.outcome,
        "reason": found.reason,
        "job_id": found.job_id,
    }

"""The variables that each build is given, and the list of changed files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rapidflow_web.db.models import Job

if TYPE_CHECKING:
    from rapidflow_web.builds.preparation import Tools

_CHANGED_FILES = "changed-files"
_TAGS = "refs/tags/"


def built_in(job: Job, tools: Tools) -> dict[str, str]:
    """The variables of a job that tell what is built, why and where. What is not there is empty."""
    workspace = tools.executor.on(job.node).workspace(tools.work / str(job.id))
    return of_job(job) | {
        "RAPIDFLOW_WORKSPACE": str(workspace),
        "RAPIDFLOW_JOB_URL": f"{tools.settings.url}/ui/jobs/{job.id}",
        "RAPIDFLOW_CHANGED_FILES": str(workspace.parent / "rapidflow" / _CHANGED_FILES),
    }


def of_job(job: Job) -> dict[str, str]:
    """Those of them that are the same on any machine."""
    ref, request = job.ref or "", job.pull_request or {}
    values = {
        "CI": "true",
        "RAPIDFLOW_JOB_ID": str(job.id),
        "RAPIDFLOW_BRANCH": job.branch or "",
        "RAPIDFLOW_COMMIT": job.commit or "",
        "RAPIDFLOW_EVENT": job.event,
        "RAPIDFLOW_REF": ref,
        "RAPIDFLOW_TAG": ref.removeprefix(_TAGS) if ref.startswith(_TAGS) else "",
        "RAPIDFLOW_PULL_REQUEST": str(request.get("number", "")),
        "RAPIDFLOW_TARGET_BRANCH": str(request.get("target", "")),
        "RAPIDFLOW_BEFORE": job.before or "",
        "RAPIDFLOW_TITLE": job.title or "",
        "RAPIDFLOW_AUTHOR": job.author or "",
    }
    if job.part is not None:
        values |= {"RAPIDFLOW_PART": job.part, "RAPIDFLOW_ATTEMPT": str(job.attempt)}
    # A commit may have a title with anything in it, which no variable can have.
    return {name: value.replace("\0", "") for name, value in values.items()}


def write_changed_files(root: Path, paths: Sequence[str]) -> None:
    """Writes the changed files, one a line, where RAPIDFLOW_CHANGED_FILES says. `root` is the build's."""
    lines = "".join(f"{path}\n" for path in paths if "\n" not in path)
    (root / "rapidflow" / _CHANGED_FILES).write_text(lines, encoding="utf-8", newline="")

"""What a message says of a build, in the words of each kind of receiver. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from rapidflow_web.db.models import Job
from rapidflow_web.notify.words import lasted, one_line

_VERBS = {"success": "succeeded", "failed": "failed", "cancelled": "was cancelled"}
_SIGNS = {"success": "white_check_mark", "failed": "x", "cancelled": "no_entry_sign"}
_URGENT = 4
_USUAL = 3
"""Priorities of ntfy."""


@dataclass(frozen=True, slots=True)
class News:
    """The end of a build. All text is on one line and of a bounded length."""

    occasion: str
    pipeline: str
    number: int
    status: str
    where: str | None
    """The branch, tag or pull request."""
    commit: str | None
    title: str | None
    author: str | None
    error: str | None
    lasted: str | None
    url: str

    @classmethod
    def of(cls, job: Job, occasion: str, url: str) -> News:
        """The news of a job, which has its definition. `url` is of its page."""

        def short(text: str | None, most: int) -> str | None:
            return one_line(text, most) or None if text is not None else None

        return cls(
            occasion,
            one_line(job.definition.name, 100),
            job.id,
            job.status,
            short(_where(job), 100),
            job.commit,
            short(job.title, 200),
            short(job.author, 100),
            short(job.error, 300),
            lasted(job.started_at, job.finished_at),
            url,
        )

    @property
    def headline(self) -> str:
        """Such as `web #12 failed on main`."""
        verb = "is fixed" if self.occasion == "fixed" else _VERBS[self.status]
        return f"{self.pipeline} #{self.number} {verb}" + (f" on {self.where}" if self.where else "")

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What else is known of it: names and values."""
        commit = self.commit[:12] if self.commit is not None else None
        known = [
            ("Error", self.error),
            ("Commit", " ".join(part for part in (commit, self.title) if part) or None),
            ("Author", self.author),
            ("Duration", self.lasted),
        ]
        return [(name, value) for name, value in known if value is not None]


def _where(job: Job) -> str | None:
    if job.pull_request is not None:
        return f"pull request {job.pull_request.get('number')}"
    if job.branch is not None:
        return job.branch
    return job.ref.removeprefix("refs/heads/").removeprefix("refs/tags/") if job.ref is not None else None


def subject(news: News) -> str:
    """The subject of a mail."""
    return f"[RapidFlow] {news.headline}"


def plain(news: News) -> str:
    """A mail as plain text."""
    lines = [f"{news.headline}.", "", *(f"{name}: {value}" for name, value in news.facts), "", news.url, ""]
    return "\n".join(lines)


def as_html(news: News) -> str:
    """A mail in HTML."""
    cells = "".join(
        f"<tr><th align=left>{escape(name)}</th><td>{escape(value)}</td></tr>\n" for name, value in news.facts
    )
    url = escape(news.url)
    return (
        '<!doctype html>\n<html lang="en">\n<body>\n'
        f"<h3>{escape(news.headline)}</h3>\n<table>\n{cells}</table>\n"
        f'<p><a href="{url}">{url}</a></p>\n</body>\n</html>\n'
    )


def finished(news: News, job: Mapping[str, Any]) -> dict[str, Any]:
    """What a webhook is sent. `job` is the job as the API shows it."""
    return {
        "type": "build.finished",
        "timestamp": job["finished_at"],
        "data": {
            "occasion": news.occasion,
            "url": news.url,
            "pipeline": {"id": job["pipeline_id"], "name": news.pipeline},
            "job": dict(job),
        },
    }


def for_slack(news: News) -> dict[str, Any]:
    """What an incoming webhook of Slack takes."""
    lines = [f"<{_of_slack(news.url)}|{_of_slack(news.headline)}>"]
    lines += [f"*{name}:* {_of_slack(value)}" for name, value in news.facts]
    return {"text": "\n".join(lines), "unfurl_links": False}


def _of_slack(text: str) -> str:
    # Slack takes what is in <> for links and for calls to all members.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def for_ntfy(news: News, topic: str) -> dict[str, Any]:
    """What ntfy takes as JSON."""
    return {
        "topic": topic,
        "title": news.headline,
        "message": "\n".join(f"{name}: {value}" for name, value in news.facts) or news.headline,
        "tags": [_SIGNS[news.status]],
        "priority": _URGENT if news.occasion in ("broken", "failed") else _USUAL,
        "click": news.url,
    }

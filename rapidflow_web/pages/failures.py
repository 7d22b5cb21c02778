"""Why a build failed, as lists and its page say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rapidflow_web.builds import reasons
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.filters import sentence


class _Build(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def error(self) -> str | None: ...
    @property
    def failure(self) -> Mapping[str, Any] | None: ...


@dataclass(frozen=True, slots=True)
class Reason:
    """Such as "integration failed (exit 1)" with the message of its log, and the address of its line."""

    head: str | None
    message: str | None
    href: str

    @property
    def text(self) -> str:
        """All of it in a line."""
        return ": ".join(part for part in (self.head, self.message) if part)


@blueprint.app_template_global("reason")
def reason(build: _Build) -> Reason | None:
    """Why a build failed; None for one that did not, or where nothing is known."""
    if build.error is None:
        return None
    page = f"/ui/jobs/{build.id}"
    found = build.failure
    part = f"{found['part']}: " if found and "part" in found else ""
    if found and "job_id" in found:
        page = f"/ui/jobs/{found['job_id']}"
    if found and "step" in found:
        name = part + (found["name"] or f"Step {found['step']}")
        line = f":{found['line']}" if found.get("line") else ""
        href = f"{page}#step:{found['step']}{line}"
        return Reason(f"{name} failed (exit {found['code']})", found.get("message"), href)
    if ended := reasons.exit_in(build.error):
        step, code = ended
        return Reason(f"Step {step} failed (exit {code})", None, f"{page}#step:{step}")
    if part and build.error.startswith(part):
        return Reason(part.removesuffix(": "), sentence(build.error.removeprefix(part)), page)
    return Reason(None, sentence(build.error), page)

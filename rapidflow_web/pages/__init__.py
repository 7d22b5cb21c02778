"""The HTML pages."""

from rapidflow_web.pages import (
    account,
    api,
    audit,
    dashboard,
    events,
    filters,
    jobs,
    log,
    login,
    origins,
    pipelines,
    redirects,
    repositories,
    repository_changes,
    secrets,
    users,
    visibility,
)
from rapidflow_web.pages.blueprint import blueprint

__all__ = [
    "account",
    "api",
    "audit",
    "blueprint",
    "dashboard",
    "events",
    "filters",
    "jobs",
    "log",
    "login",
    "origins",
    "pipelines",
    "redirects",
    "repositories",
    "repository_changes",
    "secrets",
    "users",
    "visibility",
]

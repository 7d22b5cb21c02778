"""The HTML pages."""

from rapidflow_web.pages import (
    account,
    api,
    audit,
    dashboard,
    filters,
    jobs,
    log,
    login,
    pipelines,
    redirects,
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
    "filters",
    "jobs",
    "log",
    "login",
    "pipelines",
    "redirects",
    "secrets",
    "users",
    "visibility",
]

"""The HTML pages."""

from rapidflow_web.pages import (
    account,
    api,
    audit,
    dashboard,
    jobs,
    log,
    login,
    pipelines,
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
    "jobs",
    "log",
    "login",
    "pipelines",
    "secrets",
    "users",
    "visibility",
]

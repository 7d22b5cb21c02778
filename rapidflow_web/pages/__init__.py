"""The HTML pages."""

from rapidflow_web.pages import api, dashboard, jobs, log, login, pipelines
from rapidflow_web.pages.blueprint import blueprint

__all__ = ["api", "blueprint", "dashboard", "jobs", "log", "login", "pipelines"]

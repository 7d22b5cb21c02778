"""The HTML pages."""

from rapidflow_web.pages import api, dashboard, jobs, log, pipelines
from rapidflow_web.pages.blueprint import blueprint

__all__ = ["api", "blueprint", "dashboard", "jobs", "log", "pipelines"]

"""Builds in containers of a Docker engine."""

"""Secrets: encrypted storage and its keys."""

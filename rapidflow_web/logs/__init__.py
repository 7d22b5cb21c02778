"""Logs: files with an index, written once, read from any offset."""

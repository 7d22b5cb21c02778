"""Retention, compression, backup and repair."""

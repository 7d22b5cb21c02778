"""Builds, from the queue to their end."""

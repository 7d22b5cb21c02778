"""Builds as plain processes."""

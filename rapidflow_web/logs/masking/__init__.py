"""Masks secrets in output."""

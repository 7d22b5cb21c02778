"""Builds: starting, scheduling, executing, recovering."""

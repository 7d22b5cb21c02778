"""Builds on several machines: which there are, which one a build gets, and how their engines are reached."""

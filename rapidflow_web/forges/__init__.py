"""Forges: what they send by webhooks, and what they are told by their APIs. No database."""

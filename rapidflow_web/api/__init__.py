"""The JSON and text API."""

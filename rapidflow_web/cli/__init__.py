"""The `rapidflow` command and its HTTP client."""

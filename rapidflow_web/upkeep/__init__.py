"""What keeps the server well over the years: retention, logs at rest, caches, backups, repairs."""

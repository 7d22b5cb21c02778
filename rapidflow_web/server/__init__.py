"""The process: the app, its connections, start and end."""

"""What `make run` and `make test` need around the server: an engine, an image, an example."""

"""`python -m rapidflow_web` is the `rapidflow` command."""

from rapidflow_web.cli.main import main

main()

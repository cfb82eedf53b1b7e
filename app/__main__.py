"""python -m app = the CLI."""

from app.cli.entry import main

main()

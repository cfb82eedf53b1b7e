"""python -m app = the CLI."""

from app.cli.main import main

main()

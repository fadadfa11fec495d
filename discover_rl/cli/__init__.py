"""The command line: ``discover-rl VERB ...``, one module a verb."""

from discover_rl.cli.main import main

__all__ = ["main"]

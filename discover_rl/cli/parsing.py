"""Mistakes in one sentence, for every verb."""

import argparse
import sys
from typing import NoReturn

ERRORS = (ValueError, OSError, FloatingPointError)


def fail(sentence: str, code: int = 2) -> NoReturn:
    """Say what is wrong and end."""
    print(f"discover-rl: {sentence}", file=sys.stderr)
    raise SystemExit(code)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as the other verbs do."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise ValueError(f"{self.prog.split()[-1]}: {message}")

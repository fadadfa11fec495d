"""Mistakes in one sentence, for every verb."""

import argparse
import sys
from typing import NoReturn

ERRORS = (ValueError, OSError, FloatingPointError)


def fail(sentence: str, code: int = 2) -> NoReturn:
    """Say what is wrong and end."""
    print(f"discover-rl: {sentence}", file=sys.stderr)
    raise SystemExit(code)


def sentence(error: BaseException) -> str:
    """What an expected failure says; of one of the operating system, which file it is about and why."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if error.filename is None:
        return error.strerror
    reason = "it is a file, not a folder" if isinstance(error, FileExistsError) else error.strerror
    return f"cannot use {error.filename}: {reason}"


def option_help(usage: str, about: str, schema: type, example: str) -> str:
    """Usage, every key of a dataclass with its default and what its docstring says of it, and an example."""
    import dataclasses
    import inspect
    import re

    text = inspect.cleandoc(schema.__doc__ or "").partition("Attributes:")[2]
    parts = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", inspect.cleandoc(text) + "\n", re.M | re.S) or re.findall(
        r"^(\w+): (.*?)(?=^\w|\Z)", inspect.cleandoc(text) + "\n", re.M | re.S
    )
    said = {name: " ".join(words.split()) for name, words in parts}
    lines = [f"usage: {usage}", "", about, ""]
    for field in dataclasses.fields(schema):
        default = field.default if field.default is not dataclasses.MISSING else "..."
        shown = f"{field.name}={'' if default is None else default}"
        lines.append(f"  {shown:<28} {said.get(field.name, '')}")
    return "\n".join([*lines, "", f"example: {example}"])


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, as the other verbs do."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and exiting."""
        raise ValueError(f"{self.prog.split()[-1]}: {message}")

"""Plug-ins by entry point: ours and a stranger's are found in the same way."""

import difflib
from collections.abc import Iterable
from importlib.metadata import entry_points
from typing import Any


class UnknownPluginError(ValueError):
    """No plug-in of that name is installed, or it cannot be loaded."""


def plugin_names(group: str) -> list[str]:
    """Names registered under an entry-point group, e.g. ``discover_rl.environments``."""
    return sorted({point.name for point in entry_points(group=group)})


def load_plugin(group: str, name: str) -> Any:  # noqa: ANN401 - whatever the entry point names
    """Import the plug-in of that name.

    Raises:
        UnknownPluginError: If there is none, or importing it fails; the message says which and what to try.
    """
    points = {point.name: point for point in entry_points(group=group)}
    if name not in points:
        raise UnknownPluginError(
            f"no plug-in named {name!r} in {group}{did_you_mean(name, points)}; installed: "
            f"{', '.join(sorted(points)) or 'none (is the package installed?)'}"
        )
    try:
        return points[name].load()
    except Exception as error:
        raise UnknownPluginError(
            f"the plug-in {name!r} ({points[name].value}) in {group} could not be loaded: {error}"
        ) from error


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'x'?`` if something close is allowed, else an empty string."""
    close = difflib.get_close_matches(given, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""

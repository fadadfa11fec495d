"""Where the time goes: every part of training beside its floor and beside the plain way of doing it."""

from discover_rl.bench.main import SECTIONS, Options, run

__all__ = ["SECTIONS", "Options", "run"]

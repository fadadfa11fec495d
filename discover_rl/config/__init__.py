"""Configuration: what a run is, complete with defaults, and how plug-ins are found by name."""

from discover_rl.config.device import pick_device
from discover_rl.config.mistakes import value_sentence
from discover_rl.config.overrides import from_overrides
from discover_rl.config.plugins import (
    UnknownPluginError,
    did_you_mean,
    is_dotted_path,
    load_object,
    load_plugin,
    plugin_names,
    settings_of,
    settings_schema,
)
from discover_rl.config.schema import AFTER_GOAL, HindsightConfig, TrainConfig, schema_node

__all__ = [
    "AFTER_GOAL",
    "HindsightConfig",
    "TrainConfig",
    "UnknownPluginError",
    "did_you_mean",
    "from_overrides",
    "is_dotted_path",
    "load_object",
    "load_plugin",
    "pick_device",
    "plugin_names",
    "schema_node",
    "settings_of",
    "settings_schema",
    "value_sentence",
]

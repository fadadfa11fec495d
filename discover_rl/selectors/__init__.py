"""Which goal to practise next: pure functions of tensors, the same for mazes and for texts."""

from discover_rl.selectors.alpha import adapt_alpha
from discover_rl.selectors.candidates import Candidates, Choice, Estimate, Plan, Selector, SelectorState
from discover_rl.selectors.density import Mega, Omega, Uniform
from discover_rl.selectors.discover import AchievabilityNovelty, Discover
from discover_rl.selectors.score import pick
from discover_rl.selectors.simple import HER, Oracle, Random, Stateless

SELECTORS: dict[str, type] = {
    "discover": Discover,
    "her": HER,
    "mega": Mega,
    "omega": Omega,
    "uniform": Uniform,
    "achievability_novelty": AchievabilityNovelty,
    "random": Random,
    "oracle": Oracle,
}
"""Every selector by its name in configs."""

__all__ = [
    "HER",
    "SELECTORS",
    "AchievabilityNovelty",
    "Candidates",
    "Choice",
    "Discover",
    "Estimate",
    "Mega",
    "Omega",
    "Oracle",
    "Plan",
    "Random",
    "Selector",
    "SelectorState",
    "Stateless",
    "Uniform",
    "adapt_alpha",
    "pick",
]

"""The curricula that are compared, by name. They differ in numbers only: one selector, one way of making batches."""

import dataclasses
from dataclasses import dataclass

from discover_rl.config import did_you_mean
from discover_rl.selectors import Discover
from discover_rl.text.batches import CurriculumConfig, practice
from discover_rl.text.belief import BeliefConfig

SIFT_TASKS = 1000  # TTC-RL chooses that many at the start


@dataclass(frozen=True)
class Recipe:
    """A curriculum.

    Attributes:
        about: What it does, in half a sentence.
        selector: Chooses.
        config: How batches are made.
        on_targets: Whether it practises tasks drawn like the targets, with answers, in place of the corpus.
    """

    about: str
    selector: Discover
    config: CurriculumConfig
    on_targets: bool = False


_FIXED = {"controller": "fixed", "novelty": 0.0, "target_novelty": 0.0}
_SIFT = practice(controller="fixed", alpha_start=0.0, achievability=0.0, novelty=0.0, relevance=0.0)
# so that batch after batch is SIFT's list: attempts weigh as SIFT assumes, and none is forgotten
_SIFT_BELIEF = BeliefConfig(sampling_noise=False, forget=1.0)

CURRICULA: dict[str, Recipe] = {
    "discover": Recipe("achievable, novel and relevant to the targets; alpha adapts", practice(), CurriculumConfig()),
    "uniform": Recipe("any task", practice(controller="fixed"), CurriculumConfig(explore=1.0, rest=0)),
    "sift": Recipe(
        "SIFT chooses a list once (TTC-RL)",
        _SIFT,
        CurriculumConfig(explore=0.0, rest=0, skip_mastered=False, ahead=SIFT_TASKS, once=True, belief=_SIFT_BELIEF),
    ),
    "sift_online": Recipe(
        "SIFT, batch after batch, without a list",
        _SIFT,
        CurriculumConfig(explore=0.0, rest=0, skip_mastered=False, belief=_SIFT_BELIEF),
    ),
    "achievable_sift": Recipe(
        "SIFT among tasks with a pass rate of 0.25 to 0.6, every ten batches (A-TTC)",
        _SIFT,
        CurriculumConfig(explore=0.0, rest=0, ahead=10, band=(0.25, 0.6), estimator="logit_shift", belief=_SIFT_BELIEF),
    ),
    "easiest": Recipe(
        "the greatest expected pass rate first",
        practice(alpha_start=1.0, **_FIXED),
        CurriculumConfig(belief=BeliefConfig(achievability="pass_rate")),
    ),
    "learnability": Recipe(
        "the greatest p(1-p) first, whatever the targets",
        practice(alpha_start=1.0, **_FIXED),
        CurriculumConfig(belief=BeliefConfig(achievability="learnability")),
    ),
    "no_novelty": Recipe(
        "discover without the two deviations", practice(novelty=0.0, target_novelty=0.0), CurriculumConfig()
    ),
    "fixed_alpha": Recipe("discover with alpha at 1/2", practice(controller="fixed"), CurriculumConfig()),
    "oracle": Recipe(
        "tasks drawn like the targets, which no one has in practice",
        practice(controller="fixed"),
        CurriculumConfig(explore=1.0, rest=0),
        on_targets=True,
    ),
}
"""Every curriculum by its name."""


def recipe(name: str, batch_size: int = 8, attempts: int = 8) -> Recipe:
    """The curriculum of that name, for batches of so many tasks with so many attempts at each.

    Raises:
        ValueError: If there is none.
    """
    if name not in CURRICULA:
        raise ValueError(f"curriculum is {name!r}{did_you_mean(name, CURRICULA)}; allowed: {', '.join(CURRICULA)}")
    found = CURRICULA[name]
    belief = dataclasses.replace(found.config.belief, attempts=attempts)
    config = dataclasses.replace(found.config, batch_size=batch_size, belief=belief)
    if found.config.once:  # a list of so many tasks, whatever the batch
        config = dataclasses.replace(config, ahead=max(1, SIFT_TASKS // batch_size))
    return dataclasses.replace(found, config=config)

"""Prior knowledge: how far goals are from the target, as critics trained in another environment of the same maze say.

A point mass learns a maze in a fraction of the time that an ant takes. Its critics know the way round the walls, so
their V(g, g*) can stand for the relevance of a goal to the ant; what the ant can reach, only its own critics know.
"""

from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.build import make_agent, make_environment, random_sources
from discover_rl.checkpoint import load_checkpoint
from discover_rl.goals import CellMap, Environment, HasCells
from discover_rl.run_folder import MODEL, load_config
from discover_rl.selectors import Estimate


class Prior:
    """The critics of a finished run, asked for the relevance of goals of another environment.

    Goals go from one scale to the other by way of cells, see ``CellMap``. Run r asks the networks of run
    r mod (number of runs there). Values are in minus steps of that environment, so weigh them against the own ones
    only after standardising (``selector.standardise``, the default).

    Args:
        run_dir: Folder of the run whose critics are asked.
        env: The environment that is trained in.
        num_runs: Its stacked runs.
        device: Where.

    Raises:
        ValueError: If the folder is not that of a run, or goals there do not fit the goals here.
    """

    def __init__(self, run_dir: Path, env: Environment, num_runs: int, device: torch.device) -> None:
        try:
            config = load_config(run_dir)
        except ValueError as error:
            raise ValueError(f"prior={run_dir}: {error}") from error
        there = make_environment(config.env, 1, device, 0, config.goal_space, config.target)
        self._maps = _cells_of(env, "this environment"), _cells_of(there, f"that of {run_dir}")
        _check_same(*self._maps, run_dir)
        self._env = cast(HasCells, there)
        # the target's own coordinates there: the critics have seen them most, and cells are coarse
        self._target = None if None in (m.target for m in self._maps) else there.targets()[0].clone()
        self._agent = make_agent(config.agent, there, num_runs, random_sources(0, device))
        tensors, _ = load_checkpoint(run_dir / MODEL, device)
        which = torch.arange(num_runs, device=device) % config.seeds
        self._agent.load({name: tensor[which] for name, tensor in tensors.items()})

    def relevance(self, goals: Float[Tensor, "run cand goal"], targets: Float[Tensor, "run cand goal"]) -> Estimate:
        """V(g, g*) of the prior critics for each candidate, standing still at g."""
        here, there = self._maps
        states = self._env.state_at(there.from_cells(here.to_cells(goals)))
        desired = there.from_cells(here.to_cells(targets))
        if self._target is not None:
            desired = self._target.expand_as(desired)
        return self._agent.values(states, desired)


def _cells_of(env: Environment, which: str) -> CellMap:
    if not isinstance(env, HasCells):
        raise ValueError(
            f"prior: goals of {which} are not places in a maze of cells (it has no cell_map), so they cannot be "
            "compared; use a run in a maze, or leave prior out"
        )
    return env.cell_map()


def _check_same(here: CellMap, there: CellMap, run_dir: Path) -> None:
    """Raise ``ValueError`` unless both mazes have the same cells, and the same target if it is fixed in both."""
    dims = [len(next(iter(cells.free))) for cells in (here, there)]
    if dims[0] != dims[1]:
        raise ValueError(
            f"prior={run_dir}: goal spaces do not fit, the maze there has {dims[1]} dimensions and this one {dims[0]}; "
            "use a run in the same layout"
        )
    if here.free != there.free:
        raise ValueError(
            f"prior={run_dir}: the mazes differ, {len(here.free ^ there.free)} cells are free in one of them only "
            f"({len(there.free)} there, {len(here.free)} here, told from the start); use a run in the same layout"
        )
    if None not in (here.target, there.target) and here.target != there.target:
        raise ValueError(
            f"prior={run_dir}: the target there is the cell {there.target} from the start, here {here.target}; use a "
            "run with the same target"
        )

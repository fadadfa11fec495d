"""Many goal environments that step together, as a ``gymnasium.vector.VectorEnv``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.utils import EzPickle, seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool
from torch import Tensor

from discover_rl.goals import EnvironmentFactory
from discover_rl.gym.building import action_space, build_environment, observation_space
from discover_rl.gym.checks import read_action, read_goal, read_mask
from discover_rl.gym.episodes import Episodes, common_seed
from discover_rl.gym.goals import METADATA, GoalMethods, metadata_of
from discover_rl.gym.rendering import Camera

ARRAYS = ("numpy", "torch")


class GoalVectorEnv(GoalMethods, VectorEnv[dict[str, Any], Any, Any]):
    """``num_envs`` environments of ``GoalEnv`` that step together, on one device.

    It does what a ``SyncVectorEnv`` of as many single environments does that resets in the same step: an episode
    that ends, by itself or by the time limit, is followed at once by the next one. The last observation of the old
    episode is in ``infos["final_obs"]`` and its info in ``infos["final_info"]``, where ``infos["_final_obs"]`` is
    True; the observation returned is the first of the new episode. Reward, terminated and truncated refer to the
    old one. Environment i has the seed ``seed + i``. All this to the bit on the CPU, if the starts of the
    environment can be seeded singly (``SeededStarts``; those of the ids under ``Discover/`` can).

    With ``arrays="torch"`` everything is a tensor on the device, rewards float32, and ``final_obs`` and ``final_info``
    are dictionaries of tensors of all environments, of which the rows where ``_final_obs`` is True count.

    Args:
        env: Name of a plug-in of the group ``discover_rl.environments``, or a factory of environments.
        config: Its configuration; its defaults if None.
        num_envs: Number of environments.
        render_mode: None or ``rgb_array``.
        view: ``auto``, ``model`` (the environment's own renderer) or ``top_down`` (matplotlib, works everywhere).
        width: Width of a frame in pixels.
        height: Height of a frame in pixels.
        device: Where the environments compute.
        arrays: What is returned: ``numpy`` or ``torch``. Actions may be either.
        settings: Fields of the configuration to change; ``max_episode_steps`` is the time limit.

    Raises:
        ValueError: If an argument is unknown or out of range.
    """

    metadata = METADATA | {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self,
        env: str | EnvironmentFactory,
        config: Any = None,  # noqa: ANN401 - the environment's own dataclass
        *,
        num_envs: int = 1,
        render_mode: str | None = None,
        view: str = "auto",
        width: int = 480,
        height: int = 480,
        device: str = "cpu",
        arrays: str = "numpy",
        **settings: Any,  # noqa: ANN401
    ) -> None:
        EzPickle.__init__(
            self, env, config, num_envs=num_envs, render_mode=render_mode, view=view, width=width, height=height,
            device=device, arrays=arrays, **settings,
        )  # fmt: skip
        if arrays not in ARRAYS:
            raise ValueError(f"arrays is {arrays!r}; allowed: {', '.join(ARRAYS)}")
        self.episodes = Episodes(build_environment(env, config, settings, num_envs, device))
        inner = self.episodes.env
        self.num_envs = num_envs
        self.max_episode_steps = inner.max_episode_steps
        self.single_observation_space = spaces = observation_space(inner)
        self._goals = spaces["desired_goal"]
        self.single_action_space = action_space(inner)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = render_mode
        self.camera = Camera(self.episodes, render_mode, view, width, height) if render_mode is not None else None
        self.metadata = type(self).metadata | metadata_of(inner) | ({"torch": True} if arrays == "torch" else {})
        self._torch = arrays == "torch"
        self._may_end_early = inner.ends_early or inner.terminate_on_success
        self._generators: list[np.random.Generator] = []
        self._seeds: list[int] = []
        self._elapsed = np.zeros(num_envs, np.int64)  # on the host: the time limit needs no answer of the device

    @property
    def np_random(self) -> tuple[np.random.Generator, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The generator of each environment, as a ``SyncVectorEnv`` gives them."""
        self._seed(None, None)
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The seed of each environment."""
        self._seed(None, None)
        return tuple(self._seeds)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start episodes.

        Args:
            seed: Of environment i: ``seed + i``, or the i-th of a list; those without go on with their generators.
            options: ``goal``: goals of these episodes, of shape (goal,) or (num_envs, goal). ``reset_mask``:
                bools of shape (num_envs,); episodes go on where it is False.

        Returns:
            The observations of all environments, and their infos.

        Raises:
            ValueError: If an option is unknown, a goal does not lie in the goal space, or the mask or the seeds do
                not fit.
        """
        goals = read_goal(options, self.episodes.env, self._goals, ("goal", "reset_mask"))
        mask = read_mask(options, self.num_envs)
        self._seed(self._read_seeds(seed), mask)
        observation = self.episodes.reset(self._generators, mask, goals)
        self._elapsed[slice(None) if mask is None else mask] = 0
        return self._arrays(observation), self._infos(self._start_info(observation), mask)

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:  # noqa: ANN401
        """Advance every environment by one step, and start the next episode where one has ended.

        Args:
            actions: Of shape (num_envs, act), in [-1, 1].

        Returns:
            Observations, rewards, terminated, truncated (by the time limit too), infos.

        Raises:
            gymnasium.error.ResetNeeded: If there has been no reset yet.
            ValueError: If the actions have the wrong shape or hold a NaN.
        """
        shape = (self.num_envs, self.episodes.env.action_dim)
        outcome = self.episodes.step(read_action(actions, self.episodes.env, shape))
        observation, terminated, truncated = outcome.observation, outcome.terminated, outcome.truncated
        self._elapsed += 1
        done = self._elapsed >= self.max_episode_steps
        if done.any():
            truncated = truncated | torch.from_numpy(done).to(truncated.device)
        if self._may_end_early:
            done = (terminated | truncated).cpu().numpy()
        info = self._info(outcome)
        infos: dict[str, Any] = {}
        if done.any():
            infos = self._final(observation, info, done)
            observation = self.episodes.reset(self._generators, done)
            self._elapsed[done] = 0
            over = torch.from_numpy(done).to(terminated.device)
            info = {key: torch.where(over, fresh, info[key]) for key, fresh in self._start_info(observation).items()}
        infos |= self._infos(info, None)
        reward = outcome.success.float() if self._torch else outcome.success.cpu().numpy().astype(np.float64)
        return self._arrays(observation), reward, self._array(terminated), self._array(truncated), infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """A frame of every environment, uint8 of shape (height, width, 3); None without a render mode.

        Raises:
            gymnasium.error.ResetNeeded: If there has been no reset yet.
            RuntimeError: If the environment's renderer cannot draw on this machine.
        """
        return None if self.camera is None else tuple(self.camera.frame(index) for index in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ANN401
        """Free what the environments hold."""
        self.episodes.close()

    def _read_seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None] | None:
        if seed is None or isinstance(seed, int | np.integer):
            return None if seed is None else [int(seed) + index for index in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"reset: {len(seed)} seeds for {self.num_envs} environments; give one number, or as many")
        return list(seed)

    def _seed(self, seeds: Sequence[int | None] | None, mask: Bool[np.ndarray, "env"] | None) -> None:
        """Give seeded environments new generators, all of them if there are none yet."""
        new = not self._generators
        if new:
            self._generators, self._seeds = [np.random.default_rng(0)] * self.num_envs, [0] * self.num_envs
        if seeds is None and not new:
            return
        seeds = seeds if seeds is not None else [None] * self.num_envs
        first = True
        for index, seed in enumerate(seeds):
            chosen = seed is not None and (mask is None or mask[index])
            if not (chosen or new):
                continue
            self._generators[index], self._seeds[index] = seeding.np_random(seed if chosen else None)
            number = common_seed(self._generators[index])
            if first:
                self.episodes.seed(number)
                first = False

    def _final(self, observation: dict[str, Tensor], info: dict[str, Tensor], done: np.ndarray) -> dict[str, Any]:
        """The end of the episodes that are over, before they are followed by the next."""
        if self._torch:
            over = torch.from_numpy(done.copy()).to(self.episodes.env.device)
            return {
                "final_obs": self._arrays(observation),
                "_final_obs": over,
                "final_info": self._arrays(info),
                "_final_info": over.clone(),
            }
        arrays = self._arrays(observation)
        each = np.full(self.num_envs, None, dtype=object)
        for index in np.flatnonzero(done):
            each[index] = {key: value[index].copy() for key, value in arrays.items()}
        return {
            "final_obs": each,
            "_final_obs": done.copy(),
            "final_info": self._infos(info, done),
            "_final_info": done.copy(),
        }

    def _infos(self, info: dict[str, Tensor], mask: Bool[np.ndarray, "env"] | None) -> dict[str, Any]:
        """With numpy, beside each value which environments it is of."""
        if self._torch:
            return self._arrays(info)
        mask = np.ones(self.num_envs, bool) if mask is None else mask
        infos: dict[str, Any] = {}
        for key, value in info.items():
            infos[key], infos[f"_{key}"] = value.cpu().numpy() & mask, mask.copy()
        return infos

    def _arrays(self, tensors: dict[str, Tensor]) -> dict[str, Any]:
        return {key: self._array(value) for key, value in tensors.items()}

    def _array(self, tensor: Tensor) -> Any:  # noqa: ANN401
        """A copy: what is returned may be written to."""
        return tensor.clone() if self._torch else tensor.cpu().numpy().copy()

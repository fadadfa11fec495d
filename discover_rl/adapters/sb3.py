"""DISCOVER inside Stable-Baselines3: a wrapper and a callback beside an ordinary TD3 or SAC script with HER.

    env = CommandedGoals(gymnasium.make(...))
    model = TD3("MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, policy_kwargs={"n_critics": 4})
    model.learn(200_000, callback=GoalChoice())

The callback scores visited states with the model's own critics, hands the scores to one of our selectors, and commands
each episode to the goal that is chosen. Everything else, hindsight included, stays Stable-Baselines3's.
"""

import warnings
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from discover_rl.adapters.flat_goals import ACHIEVED, DESIRED, goal_obstacle
from discover_rl.agents import value_in_steps
from discover_rl.selectors import Candidates, Discover, Estimate, SelectorState

AFTER_GOAL = ("random", "stay")
REACHED = "commanded_goal_reached"
Observation = dict[str, np.ndarray]


class CommandedGoals(gymnasium.Wrapper):
    """A goal environment whose episodes can be commanded to another goal than their own.

    Observation, reward, ``is_success`` and, where the environment has ``compute_terminated``, the end of the episode
    refer to the commanded goal. Without a command it is the environment as it was.

    Args:
        env: The goal environment.

    Raises:
        ValueError: If it is no goal environment.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        if obstacle := goal_obstacle(env.observation_space, str(env)):
            raise ValueError(obstacle)
        self._commanded: np.ndarray | None = None

    def command(self, goal: Float[np.ndarray, "goal"]) -> None:
        """Send the running episode to a goal."""
        self._commanded = np.array(goal)

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:  # noqa: ANN401 - of the environment
        """A new episode, commanded to its own target."""
        self._commanded = None
        return self.env.reset(**given)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:  # noqa: ANN401 - of the environment
        """One step; what it says of goals refers to the commanded one."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        achieved = observation[ACHIEVED]
        desired = observation[DESIRED] if self._commanded is None else self._commanded
        compute = self.env.get_wrapper_attr("compute_reward")
        reached = bool(compute(achieved, desired, info) >= compute(desired, desired, info))
        info = {**info, REACHED: reached}
        if self._commanded is None:
            return observation, reward, terminated, truncated, info
        if self.env.has_wrapper_attr("compute_terminated"):
            terminated = bool(self.env.get_wrapper_attr("compute_terminated")(achieved, desired, info))
        info["is_success"] = reached
        shown = {**observation, DESIRED: desired.astype(observation[DESIRED].dtype)}
        return shown, compute(achieved, desired, info), terminated, truncated, info


class WanderingNoise(ActionNoise):
    """The noise that the model had, if any, and random actions for the episodes that wander.

    Args:
        base: The noise that the model had, of all environments.
        shape: Of the actions of all environments.
        rng: Source of random numbers.
    """

    def __init__(self, base: ActionNoise | None, shape: tuple[int, ...], rng: np.random.Generator) -> None:
        super().__init__()
        self.base, self.shape, self._rng = base, shape, rng
        self.wanders = np.zeros(shape[0], dtype=bool)

    def __call__(self) -> np.ndarray:
        """Added to actions in [-1, 1] and clipped there, so twice the range drowns the policy."""
        usual = np.zeros(self.shape) if self.base is None else np.reshape(self.base(), self.shape)
        wild = self._rng.uniform(-2, 2, self.shape)
        return np.where(self.wanders.reshape(-1, *[1] * (len(self.shape) - 1)), wild, usual).astype(np.float32)

    def reset(self, **given: Any) -> None:  # noqa: ANN401 - of the noise that the model had
        """As the noise that the model had."""
        if self.base is not None:
            self.base.reset(**given)


class GoalChoice(BaseCallback):
    """Chooses the goal of each episode by one of our selectors.

    A selector deals out a round of goals: most of them by score, some by novelty alone, some the target itself. Here
    episodes begin one by one, so each takes the next place in such a round, scored from its own start and to its own
    target; after a round the selector adapts.

    Args:
        selector: Any of ``discover_rl.selectors`` that needs no true distance.
        num_candidates: Visited states among which it chooses, drawn anew for each episode.
        round_size: Episodes of a round.
        after_goal: What a commanded episode does once it has come to its goal: ``random`` actions till its end, which
            widen the frontier, or ``stay``, going on with the policy.
        seed: Of the draws.

    Raises:
        ValueError: At the start of training, if the model or its environment does not fit.
    """

    def __init__(
        self,
        selector: Any = None,  # noqa: ANN401 - a Selector, whose needs may be class variables
        num_candidates: int = 1_000,
        round_size: int = 16,
        after_goal: str = "random",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.selector: Any = Discover() if selector is None else selector
        if num_candidates < round_size:
            raise ValueError(f"num_candidates={num_candidates} is less than round_size={round_size}; raise it")
        if after_goal not in AFTER_GOAL:
            raise ValueError(f"after_goal is {after_goal!r}; allowed: {', '.join(AFTER_GOAL)}")
        self.num_candidates, self.round_size, self.after_goal = num_candidates, round_size, after_goal
        self._rng, self._torch_rng = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        self.state: SelectorState = self.selector.init((), torch.device("cpu"))
        self._begun = 0
        self._noise: WanderingNoise | None = None
        self._ended: list[tuple[bool, bool, bool]] = []  # counted, commanded to the target, reached
        self._running: dict[int, tuple[bool, bool]] = {}
        self._reached: dict[int, bool] = {}

    # -- what Stable-Baselines3 calls --------------------------------------------------------------------

    def _init_callback(self) -> None:
        model, env = self.model, self.training_env
        if not isinstance(model, OffPolicyAlgorithm) or not hasattr(model, "critic"):
            raise ValueError(f"GoalChoice needs an algorithm with critics (TD3, SAC, DDPG), got {type(model).__name__}")
        if isinstance(env, VecNormalize):
            raise ValueError("GoalChoice does not work under VecNormalize; normalise within the environment instead")
        if not all(env.env_is_wrapped(CommandedGoals)):
            raise ValueError("GoalChoice needs environments wrapped by CommandedGoals: env = CommandedGoals(env)")
        if self.selector.needs_distance:
            raise ValueError(f"GoalChoice cannot tell true distances, which selector {self.selector.name} needs")
        critic: Any = model.critic  # type: ignore[attr-defined]
        if self.selector.needs_values and len(critic.q_networks) < 2:
            warnings.warn(
                "GoalChoice: one critic has no uncertainty; give policy_kwargs={'n_critics': 4}", stacklevel=2
            )

    def _on_training_start(self) -> None:
        model = self._model()
        if self.after_goal == "random":
            shape = self.training_env.num_envs, *self.training_env.action_space.shape  # type: ignore[misc]
            self._noise = WanderingNoise(model.action_noise, shape, self._rng)
            model.action_noise = self._noise
        observation = model._last_obs
        assert isinstance(observation, dict)
        for env in range(self.training_env.num_envs):
            self._begin(env, observation)

    def _on_training_end(self) -> None:
        if self._noise is not None:  # a later ``learn`` begins with the model's own again
            self._model().action_noise, self._noise = self._noise.base, None

    def _on_step(self) -> bool:
        for env, info in enumerate(self.locals["infos"]):
            self._reached[env] = self._reached[env] or bool(info[REACHED])
            if self._noise is not None:
                self._noise.wanders[env] = self._reached[env] and not self._running[env][1]
            if self.locals["dones"][env]:
                self._end(env)
                self._begin(env, self.locals["new_obs"])
        return True

    # -- rounds ------------------------------------------------------------------------------------------

    def _begin(self, env: int, observations: Observation) -> None:
        """Choose the goal of an episode that has just begun, and write it into its first observation."""
        counted, to_target, goal = self._choose({key: rows[env] for key, rows in observations.items()})
        self._begun += 1
        self._running[env], self._reached[env] = (counted, to_target), False
        if self._noise is not None:
            self._noise.wanders[env] = False
        if goal is not None:
            self.training_env.env_method("command", goal, indices=[env])
            observations[DESIRED][env] = goal

    def _end(self, env: int) -> None:
        self._ended.append((*self._running[env], self._reached[env]))
        if len(self._ended) < self.round_size:
            return
        counted, to_target, reached = np.array(self._ended).T
        self._ended = []
        rates = [float(reached[chosen].mean()) if chosen.any() else 0.0 for chosen in (counted, to_target)]
        self.state = self.selector.update(self.state, torch.tensor(rates[0]), torch.tensor(rates[1]))
        self.logger.record("goal/selected_success_rate", rates[0])
        self.logger.record("goal/alpha", float(self.state.alpha))
        self.logger.record("goal/beta", float(self.state.beta))

    def _choose(self, start: Observation) -> tuple[bool, bool, np.ndarray | None]:
        """Whether success counts, whether the episode goes to its target, and its goal if it does not."""
        size = self._buffer().size()
        if not size:
            return True, True, None
        candidates, visited = self.candidates(start, size)
        choice = self.selector.select(self.state, candidates, self.round_size, self._torch_rng)
        place = self._begun % self.round_size
        counted, to_target = bool(choice.counted()[place]), bool(choice.use_target[place])
        return counted, to_target, None if to_target else visited[int(choice.index[place])]

    def candidates(self, start: Observation, size: int) -> tuple[Candidates, np.ndarray]:
        """Visited states drawn uniformly from the replay buffer, and what the selector wants to know of them.

        Args:
            start: First observation of the episode, without a batch axis.
            size: Filled rows of the replay buffer.

        Returns:
            The candidates for the selector, and the goals that were achieved in them as the environment has them.
        """
        buffer = self._buffer()
        rows = self._rng.integers(size, size=self.num_candidates)
        envs = self._rng.integers(buffer.n_envs, size=self.num_candidates)
        visited = {key: stored[rows, envs] for key, stored in buffer.next_observations.items()}
        goals = visited[ACHIEVED]
        begun = {key: np.repeat(row[None], len(goals), axis=0) for key, row in start.items()}
        reward, at_goal = self._rewards(begun[ACHIEVED], goals), self._rewards(goals[:1], goals[:1])[0]
        scale = float(min(reward.min(), at_goal - 1e-6)), float(at_goal)
        values = self.selector.needs_values
        return Candidates(
            goals=torch.as_tensor(goals, dtype=torch.float32),
            valid=torch.as_tensor(reward < at_goal - 1e-6),
            start=self.values({**begun, DESIRED: goals}, scale) if values else None,
            target=self.values({**visited, DESIRED: begun[DESIRED]}, scale) if values else None,
            desired=torch.as_tensor(start[DESIRED][None], dtype=torch.float32),
        ), goals

    @torch.no_grad()
    def values(self, observations: Observation, rewards: tuple[float, float]) -> Estimate:
        """V of observations with their desired goals, in minus steps, over the model's critics.

        With reward r elsewhere and r* at the goal, where the episode goes on, Q = [r + (r* - r)·γ^d] / (1-γ).

        Args:
            observations: Batches by key.
            rewards: Reward elsewhere and at the goal.
        """
        model = self._model()
        model.policy.set_training_mode(False)
        given = obs_as_tensor(observations, model.device)
        actions = model.policy(given, deterministic=True)
        q: Tensor = torch.stack(model.critic(given, actions))[..., 0].cpu()  # type: ignore[attr-defined]
        elsewhere, at_goal = rewards
        discounted = (q * (1 - model.gamma) - elsewhere) / (at_goal - elsewhere)
        steps = value_in_steps(discounted, model.gamma, goal_is_terminal=True)
        return Estimate(steps.mean(0), steps.std(0, correction=0))

    def _rewards(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        infos = [{} for _ in achieved]
        return np.asarray(self.training_env.env_method("compute_reward", achieved, desired, infos, indices=[0])[0])

    def _model(self) -> OffPolicyAlgorithm:
        assert isinstance(self.model, OffPolicyAlgorithm)
        return self.model

    def _buffer(self) -> Any:  # noqa: ANN401 - a DictReplayBuffer, which Stable-Baselines3 annotates loosely
        return self._model().replay_buffer

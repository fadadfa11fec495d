"""The algorithm: ``Algorithm.train_round`` is one round of it. What surrounds it stands in ``train.py``.

choose goals -> roll out one episode per environment -> store -> learn -> adapt alpha

With ``learn_beside_rollout``: choose goals -> roll out, and learn from what was stored before -> store -> adapt alpha
"""

import math
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from discover_rl.build import check_after_goal, make_agent, make_environment, make_selector, random_sources, validate
from discover_rl.config import TrainConfig, pick_device
from discover_rl.goals import Simulated, true_distance
from discover_rl.nets import Captured, run_beside
from discover_rl.prior import Prior
from discover_rl.replay import Batch, ReplayBuffer, RowLayout, sample_batch
from discover_rl.rollout import PRIORITY, Rollout
from discover_rl.rounds import Round, batches_per_update, mean_where, stride_steps
from discover_rl.selectors import Candidates, Estimate, SelectorState


class Algorithm:
    """Everything that the algorithm works on, and the algorithm.

    Args:
        config: What to train.

    Raises:
        ValueError: If parts of the configuration do not fit together.
    """

    def __init__(self, config: TrainConfig) -> None:
        validate(config)
        self.config = config
        self.device = pick_device(config.device)
        self.num_runs, self.num_envs = config.seeds, config.num_envs
        self.sources = sources = random_sources(config.seed, self.device)
        self.generators = sources.generators
        self.env = make_environment(
            config.env,
            self.num_runs * self.num_envs,
            self.device,
            sources.env_seed,
            config.goal_space,
            config.target,
        )
        check_after_goal(config, self.env)
        self.space = self.env.goal_space
        self.num_steps = self.env.max_episode_steps
        self.agent = make_agent(config.agent, self.env, self.num_runs, sources)
        self.batches_per_update = batches_per_update(config.gradient_steps, self.agent.batch_multiple)
        self.prior = Prior(Path(config.prior), self.env, self.num_runs, self.device) if config.prior else None
        self.selector = make_selector(config.selector, self.env)
        self.layout = RowLayout(self.env.observation_dim, self.env.action_dim, self.space.dim)
        self.buffer = ReplayBuffer(
            self.num_runs, self.num_envs, self.num_steps, config.buffer_size, self.layout, self.device
        )
        if config.learning_starts > self.buffer.rows.shape[1]:
            raise ValueError(
                f"learning_starts={config.learning_starts} is more than the replay buffer ever holds "
                f"({self.buffer.rows.shape[1]} transitions, whole rounds); raise buffer_size"
            )
        self.round = Round(self.num_runs, self.num_envs, self.num_steps, self.layout, self.device)
        self.selector_state: SelectorState = self.selector.init((self.num_runs,), self.device)
        self.rounds = 0
        # a rollout changes the targets of episodes that end early; a captured update reads these
        self.learning_targets = torch.zeros_like(self.round.targets)
        # candidate c is scored from the start and to the target of environment c mod num_envs
        self._episode_of_candidate = torch.arange(config.num_candidates, device=self.device) % self.num_envs
        self._capture()

    def _capture(self) -> None:
        enabled = self.config.cudagraphs and self.device.type == "cuda"
        capture = partial(Captured, enabled=enabled)
        # a goal space may have to ask an environment on the CPU; hindsight asks it too
        of_tensors = enabled and getattr(self.space, "capturable", True)
        of_env = of_tensors and (getattr(self.env, "capturable", True) or isinstance(self.env, Simulated))
        if self.config.compile:
            self.agent.compile()
        draws = self.generators
        self._choose_goals = capture(self.choose_goals, [draws["goals"], self.env.generator], enabled=of_env)
        self.roll_out = Rollout(
            self.config, self.env, self.agent, self.round, self.buffer.size, draws["explore"], of_tensors
        )
        self._adapt = capture(self.adapt)
        learning = [draws["learn"], draws["replay"]]
        self._update = capture(lambda: self.agent.update(self.sample()), learning, enabled=of_tensors)
        on_cuda = self.device.type == "cuda"
        self._rollout_stream = torch.cuda.Stream(self.device, priority=PRIORITY) if on_cuda else None

    # -- one round ---------------------------------------------------------------------------------------

    @torch.no_grad()
    def choose_goals(self) -> None:
        """Start new episodes and let the selector choose the goal of each."""
        state, lead = self.round, (self.num_runs, self.num_envs)
        state.observation.copy_(self.env.reset().unflatten(0, lead))
        state.targets.copy_(self.env.targets().unflatten(0, lead))
        candidates = self.candidates()
        choice = self.selector.select(self.selector_state, candidates, self.num_envs, self.generators["goals"])
        chosen = candidates.goals.gather(1, choice.index[..., None].expand(-1, -1, self.space.dim))
        state.use_target.copy_(choice.use_target)
        state.counted.copy_(choice.counted())
        state.goals.copy_(torch.where(choice.use_target[..., None], state.targets, chosen))
        if self.config.after_goal == "explore":
            state.strides.copy_(self.strides())
        if candidates.start is not None and candidates.target is not None:
            for total, estimate in (
                (state.achievability, candidates.start.mean),
                (state.novelty, candidates.start.std),
                (state.relevance, candidates.target.mean),
            ):
                total.copy_(mean_where(estimate.gather(1, choice.index), ~choice.use_target))

    def candidates(self) -> Candidates:
        """Visited states drawn uniformly from the buffer, and what the selector wants to know of them."""
        space, state, episode = self.space, self.round, self._episode_of_candidate
        index = self.buffer.draw(self.config.num_candidates, self.generators["goals"])
        visited = self.layout.split(self.buffer.gather(index))[2]
        goals = space.achieved(visited)
        starts, targets = state.observation[:, episode], state.targets[:, episode]
        # a goal that the start has solved already teaches nothing; an empty buffer holds none
        valid = ~space.success(space.achieved(starts), goals) & (self.buffer.size > 0)
        values = self.selector.needs_values
        return Candidates(
            goals=goals,
            valid=valid,
            start=self.agent.values(starts, goals) if values else None,
            target=self._relevance(visited, goals, targets) if values else None,
            desired=state.targets,
            distance=true_distance(self.env, goals) if self.selector.needs_distance else None,
        )

    def strides(self) -> Float[Tensor, "run env goal"]:
        """From where to where episodes came within a tenth of the time limit, or until their end."""
        index = self.buffer.draw(self.num_envs, self.generators["goals"])
        observation, *_, to_end = self.layout.split(self.buffer.gather(index))
        steps = to_end[..., 0].clamp_max(stride_steps(self.num_steps) - 1).long()
        last = self.layout.split(self.buffer.gather(index + steps * self.num_envs))[2]
        return self.space.achieved(last) - self.space.achieved(observation)

    def _relevance(
        self, visited: Float[Tensor, "run cand obs"], goals: Float[Tensor, "run cand goal"], targets: Tensor
    ) -> Estimate:
        """V(g, g*) of the own critics, or of those of ``prior``."""
        return self.agent.values(visited, targets) if self.prior is None else self.prior.relevance(goals, targets)

    def sample(self) -> Batch:
        """Relabelled batches for one call of the learner: many at once, for each draw is dozens of operations."""
        drawn = sample_batch(
            self.buffer,
            self.batches_per_update * self.config.batch_size,
            self.space,
            self.learning_targets,
            self.config.hindsight,
            self.agent.goal_is_terminal,
            self.generators["replay"],
            self.agent.n_steps,
        )
        return drawn.unflatten(self.batches_per_update)

    @torch.no_grad()
    def adapt(self) -> None:
        """Let the selector learn from the share of its goals that were achieved."""
        adapted = self.selector.update(self.selector_state, self.round.selected_success, self.round.commanded_success)
        for old, new in zip(self.selector_state, adapted, strict=True):
            old.copy_(new)
        self.agent.settle(self.selector_state.mastery)

    def learn(self) -> None:
        """The gradient steps of a round."""
        for _ in range(self.config.gradient_steps // self.batches_per_update):
            self._update()

    def train_round(self) -> None:
        """One round of the algorithm."""
        learns = self.rounds >= self.idle_rounds
        beside = learns and self.config.learn_beside_rollout
        self.agent.hold_policy()
        self._choose_goals()
        if beside:
            self.learning_targets.copy_(self.round.targets)
            # updates that are no graph yet, or never, keep the host busy, so that the rollout could not begin anyway
            captured = self._update.graph is not None
            run_beside(self.learn, self.roll_out, self._rollout_stream if captured else None)
        else:
            self.roll_out()
        self.buffer.add(self.round.block)
        if learns and not beside:
            self.learning_targets.copy_(self.round.targets)
            self.learn()
        if learns:
            self._adapt()
        self.rounds += 1

    @property
    def idle_rounds(self) -> int:
        """Rounds before learning begins: what random actions achieve says nothing of the goals.

        Learning beside a rollout needs one that was stored before.
        """
        random = math.ceil(self.config.learning_starts / self.buffer.round_size)
        return max(random, int(self.config.learn_beside_rollout))

    @property
    def num_timesteps(self) -> int:
        """Environment steps of each run so far."""
        return self.rounds * self.buffer.round_size

    @property
    def seeds(self) -> list[int]:
        """The seed of each run."""
        return [self.config.seed + run for run in range(self.num_runs)]

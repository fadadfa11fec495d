"""The rollout of a round: one episode of full length in every environment, or several that end early."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from discover_rl.agents import Agent
from discover_rl.config import TrainConfig
from discover_rl.goals import Environment, Simulated, Step
from discover_rl.nets import Captured
from discover_rl.replay import steps_to_end
from discover_rl.rounds import Round, exploration_scale, give_up_steps, mean_where, stride_steps

TARGET_LEGS = 0.25  # share of the places that an episode heads for while it explores that are its target
PRIORITY = -1
"""Before updates, whose priority is 0: its many small kernels would each wait for a large one of theirs."""


class Episodes(NamedTuple):
    """The running episodes, one of each environment.

    Attributes:
        observation: Where they are.
        goal: Where they are to go.
        wander: Whether they have done with their chosen goal, or there is none yet: they act at random, or explore.
        age: Their steps so far.
        first: Whether they are the first of their environment in this round.
        begins: Whether episodes begin by acting at random, the same throughout a round.
        noise: Factor on their exploration noise, the same throughout a round.
    """

    observation: Float[Tensor, "run env obs"]
    goal: Float[Tensor, "run env goal"]
    wander: Bool[Tensor, "run env"]
    age: Float[Tensor, "run env"]
    first: Bool[Tensor, "run env"]
    begins: Bool[Tensor, "run env"]
    noise: Float[Tensor, "run env"]


class Rollout:
    """Writes the transitions of a round into ``Round``; call it to run it.

    On CUDA it is one graph where the environment can be captured; where all but its simulation can be (see
    ``Simulated``), what lies between two simulations is one; else there is none.

    Args:
        config: Settings of the run.
        env: Where.
        agent: Who acts, with its held policy.
        state: What is read (observations, goals, targets, what the episodes are for) and written.
        stored: Number of transitions in the buffer of each run: random actions up to ``learning_starts``.
        generator: Of random actions.
        captures: Whether CUDA graphs are wanted.
    """

    def __init__(
        self,
        config: TrainConfig,
        env: Environment,
        agent: Agent,
        state: Round,
        stored: Int[Tensor, ""],
        generator: torch.Generator,
        captures: bool,
    ) -> None:
        self.config, self.env, self.agent, self.state, self.stored = config, env, agent, state, stored
        self.generator = generator
        self.lead = (config.seeds, config.num_envs)
        self.num_steps = state.done.shape[1]
        self._explores = config.after_goal == "explore"
        device = state.done.device
        self._times = torch.arange(self.num_steps, device=device)
        self._patience = give_up_steps(config.num_envs, self.num_steps, config.patience, device)
        whole = getattr(env, "capturable", True)
        self.simulated = env if captures and not whole and isinstance(env, Simulated) else None
        # updates may run at the same time, so that these graphs may have no generator of theirs
        generators = [generator, env.generator]
        self.whole = Captured(self._whole, generators, captures and whole, priority=PRIORITY)
        self.between = Captured(self._between, generators, self.simulated is not None, priority=PRIORITY)
        self._time = torch.zeros(1, dtype=torch.int64, device=device)
        self._action = torch.zeros(*self.lead, env.action_dim, device=device)
        self._held: Episodes | None = None

    @torch.no_grad()
    def __call__(self) -> None:
        """One round."""
        if self.simulated is None:
            self.whole()
            return
        self._hold(self._begin())
        self._time.zero_()
        self.simulated.begin_step(self._action.flatten(0, 1))
        for _ in range(self.num_steps):
            self.simulated.simulate()
            self.between()
        self._end()

    def _whole(self) -> None:
        episodes = self._begin()
        for t in range(self.num_steps):
            action = self._act(episodes)
            step = self.env.step(action.flatten(0, 1))
            episodes = self._follow(episodes, action, step, self._times[t : t + 1])
        self._end()

    def _between(self) -> None:
        """From the end of a simulation to the beginning of the next."""
        assert self.simulated is not None
        assert self._held is not None
        self._hold(self._follow(self._held, self._action, self.simulated.end_step(), self._time))
        self._time.add_(1)
        self.simulated.begin_step(self._action.flatten(0, 1))

    def _hold(self, episodes: Episodes) -> None:
        """Keep the episodes and their next actions where a graph finds them."""
        if self._held is None:
            self._held = Episodes(*(tensor.clone() for tensor in episodes))
        for held, new in zip(self._held, episodes, strict=True):
            held.copy_(new)
        self._action.copy_(self._act(self._held))

    def _begin(self) -> Episodes:
        state, config = self.state, self.config
        state.reached.zero_()
        state.came_to_target.zero_()
        first = torch.ones_like(state.use_target)
        begins = (self.stored < config.learning_starts).expand(self.lead)
        noise = exploration_scale(state.use_target, config.exploration_spread, config.greedy_share)
        age = torch.zeros_like(first, dtype=torch.float32)
        return Episodes(state.observation, state.goals, begins, age, first, begins, noise)

    def _act(self, episodes: Episodes) -> Float[Tensor, "run env act"]:
        wander = episodes.begins if self._explores else episodes.wander
        if self.config.patience < 1 and not self._explores:
            wander = wander | self._out_of_patience(episodes.age)
        policy = self.agent.explore(episodes.observation, episodes.goal, episodes.noise)
        return torch.where(wander[..., None], self._random_actions(), policy)

    def _out_of_patience(self, age: Float[Tensor, "run env"]) -> Bool[Tensor, "run env"]:
        return (age >= self._patience) & ~self.state.use_target

    def _random_actions(self) -> Float[Tensor, "run env act"]:
        """Uniform in [-1, 1]."""
        return torch.rand(self._action.shape, device=self._action.device, generator=self.generator) * 2 - 1

    def _follow(self, episodes: Episodes, action: Tensor, step: Step, time: Int[Tensor, "1"]) -> Episodes:
        """Note what a step has led to, and begin anew where an episode has ended.

        Args:
            episodes: Before the step.
            action: What was done.
            step: What came of it.
            time: Which step of the round it was.
        """
        state, space, config = self.state, self.env.goal_space, self.config
        goal, own_target = episodes.goal, state.use_target
        observation = step.observation.unflatten(0, self.lead)
        achieved = space.achieved(observation)
        reached = space.success(achieved, goal)
        heads_for_chosen = episodes.first
        if self._explores:  # what is reached then is another goal
            heads_for_chosen = heads_for_chosen & (~episodes.wander | episodes.begins)
        state.reached |= reached & heads_for_chosen
        state.came_to_target |= space.success(achieved, state.targets) & episodes.first
        terminated = step.terminated.unflatten(0, self.lead)
        columns = [episodes.observation, action, observation, goal, terminated[..., None].float()]
        state.block[..., :-1].index_copy_(1, time, torch.cat(columns, dim=-1)[:, None])
        wander, age = episodes.wander, episodes.age + 1
        if config.after_goal == "random":
            wander = wander | (reached & ~own_target)
        elif config.after_goal == "target":
            goal = torch.where(reached[..., None], state.targets, goal)
        elif config.after_goal == "next":
            goal = torch.where((reached & ~own_target)[..., None], goal.roll(1, dims=1), goal)
        elif self._explores:
            wander, goal = self._explore(episodes, achieved, reached)
        ended = terminated | step.truncated.unflatten(0, self.lead)
        if self.env.terminate_on_success:
            ended = ended | reached
        state.done.index_copy_(1, time, ended[:, None])
        first = episodes.first
        if self.env.ends_early or self.env.terminate_on_success:
            observation = self.env.reset(ended.flatten()).unflatten(0, self.lead)
            wander = torch.where(ended, episodes.begins, wander)
            age = torch.where(ended, 0.0, age)
            # an episode that begins in the middle of a round keeps the chosen goal, or has a target of its own
            state.targets.copy_(self.env.targets().unflatten(0, self.lead))
            state.goals.copy_(torch.where(own_target[..., None], state.targets, state.goals))
            goal = torch.where(ended[..., None], state.goals, goal)
            first = first & ~ended
        return Episodes(observation, goal, wander, age, first, episodes.begins, episodes.noise)

    def _explore(
        self, episodes: Episodes, achieved: Float[Tensor, "run env goal"], reached: Bool[Tensor, "run env"]
    ) -> tuple[Bool[Tensor, "run env"], Float[Tensor, "run env goal"]]:
        """Who explores after this step, and where all are to go."""
        state, config = self.state, self.config
        age = episodes.age + 1
        done = reached & ~state.use_target
        if config.patience < 1:
            done = done | self._out_of_patience(age)
        wander = episodes.wander | done
        due = reached | ~episodes.wander | (age % stride_steps(self.num_steps) == 0)
        which, sign, target = torch.rand(3, *self.lead, device=achieved.device, generator=self.generator)
        # float32 rounding may reach the number of environments itself
        index = (which * config.num_envs).long().clamp_max(config.num_envs - 1)
        stride = state.strides.gather(1, index[..., None].expand_as(state.strides))
        near = achieved + torch.where(sign[..., None] < 0.5, -stride, stride)
        place = torch.where(target[..., None] < TARGET_LEGS, state.targets, near)
        goal = torch.where((wander & due & ~episodes.begins)[..., None], place, episodes.goal)
        return wander, goal

    def _end(self) -> None:
        state = self.state
        state.block[..., -1] = steps_to_end(state.done)
        state.selected_success.copy_(mean_where(state.reached.float(), state.counted))
        state.commanded_success.copy_(mean_where(state.reached.float(), state.use_target))
        state.target_success.copy_(state.came_to_target.float().mean(1))

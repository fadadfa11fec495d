"""What a training run is. The dataclass holds every default; YAML files only select and override."""

import math
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

AFTER_GOAL = ("random", "policy", "target", "next", "explore")


@dataclass
class HindsightConfig:
    """Which goal a replayed transition is learned from. What the shares leave over keeps the commanded goal.

    Attributes:
        future: Share relabelled with a goal achieved later in the same episode, this transition included.
        target: Share relabelled with the target of its run.
        random: Share relabelled with a goal achieved in a random transition of the buffer. It shows the critics
            pairs that no episode connects, between which the selector compares.
        skip_reached: Whether a future goal that the state has reached already is drawn once more, from later in the
            episode. Where bodies move slowly most of them are, and such a transition teaches nothing.
        past_failure: Whether the moment of a future goal is drawn from all the time that an episode had, also where it
            failed (terminated) before. A moment past the failure leaves the commanded goal. Otherwise future goals
            come from what an episode survived to reach, and critics hardly learn that others would not be.
    """

    future: float = 0.7
    target: float = 0.0
    random: float = 0.1
    skip_reached: bool = False
    past_failure: bool = False

    def __post_init__(self) -> None:
        shares = (self.future, self.target, self.random)
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ValueError(
                f"hindsight: future={self.future}, target={self.target}, random={self.random} must be shares "
                "in [0, 1] with a sum of at most 1; what is left keeps the commanded goal"
            )


@dataclass
class TrainConfig:
    """One training run of ``seeds`` stacked, independent runs.

    A round is one episode in each of ``num_envs`` environments of each run, then ``gradient_steps`` updates.
    All counts of steps are environment steps of one run.

    Attributes:
        env: Environment, a dataclass with a field ``name`` known to the group ``discover_rl.environments``.
        selector: Goal selector, one of the dataclasses of ``discover_rl.selectors`` or a plug-in.
        agent: Learner, e.g. ``TD3Config``.
        hindsight: Relabelling mix.
        goal_space: Goal space: keys and values with a ``name`` known to the group ``discover_rl.goal_spaces`` (or a
            dotted path), or an object; the environment's own if None.
        target: Targets in that goal space, see ``target_draw``; the environment's own if None.
        seed: Seed of the first run; run r is reported as seed + r.
        seeds: Number of independent runs trained at once, in one process.
        device: ``auto`` (cuda if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        num_timesteps: Environment steps of each run.
        num_envs: Parallel environments of each run.
        gradient_steps: Critic updates in a round.
        batch_size: Transitions in an update.
        buffer_size: Transitions kept per run.
        learning_starts: Steps of uniformly random actions before learning begins.
        learn_beside_rollout: Whether the updates of a round run beside its rollout instead of after it, as in
            asynchronous actor-learners. They learn from what was stored before the round, so each episode is learned
            from one round later, and none acts with what is learned meanwhile. Saves up to the time of the rollout on
            CUDA where updates are captured (see ``cudagraphs``), most where a rollout leaves the device idle, as in
            environments that are called step by step. On the CPU the updates come first: the same results, no faster.
        prior: Folder of a run in the same maze, with another body, whose critics say how relevant a goal is to the
            target instead of the own ones (see ``discover_rl/prior.py``); none if empty.
        num_candidates: Achieved goals among which the selector chooses, drawn anew each round from the whole buffer;
            too few, and what was found at the frontier yesterday is rarely among them.
        after_goal: What an episode does once its chosen goal is reached: ``random`` uniformly random actions,
            ``policy`` stays, ``target`` goes on to the target, ``next`` to the goal of the next environment,
            ``explore`` goes on by the policy to places near by, one after the other: as far away, in any direction, as
            episodes come elsewhere within a tenth of the time limit, and now and then towards the target. For bodies
            that random actions do not move; goals must be vectors that can be added, as places can and bits cannot.
        patience: Share of the time limit after which an episode that has not reached its chosen goal begins to act
            uniformly at random (with ``explore``, to explore), as after reaching it: most goals at the frontier are
            missed, but missed nearby. The moment differs between environments, evenly from this share to the whole; 1
            never gives up.
        exploration_spread: How much exploration noise differs between environments, in [0, 1]: its deviation runs
            evenly from (1 - spread) to (1 + spread) times the agent's.
        greedy_share: Share of the episodes commanded to the target that act without noise. They show the critics
            where the deterministic policy gets stuck, which noise would hide from them.
        log_interval: Rounds between two rows of metrics.
        eval_interval: Rounds between two evaluations.
        eval_episodes: Episodes of an evaluation, per run.
        stop_success: Training ends early once every run has had at least this success rate in three evaluations
            in a row; 0 trains to ``num_timesteps`` whatever happens.
        max_time: Seconds of training after which a run stops, with an evaluation and a checkpoint; the same command
            goes on from there, for as long again. 0 trains to ``num_timesteps`` however long it takes.
        save_interval: Rounds between two checkpoints; the last round is always saved.
        keep_checkpoint: Whether a finished run keeps what it could be trained further from: optimiser, replay buffer,
            gigabytes for many seeds. Without it the networks, the metrics and the report's data are left.
        num_threads: CPU threads of torch; 0 leaves torch's own choice.
        cudagraphs: Capture rollout, goal choice and updates as CUDA graphs (ignored on the CPU).
        compile: Pass the agent's updates through torch.compile first, which takes up to a minute. For updates in plain
            torch operations (``agent.fused=false``); the fused kernels are compiled as they are.
        tf32: Let CUDA multiply float32 matrices in TF32: about 1e-3 relative error, several times faster. The fused
            kernels then form weight gradients of operands rounded to bfloat16: some 1e-2, as plain TF32 has there.
        resume: ``auto`` goes on from the checkpoint in the run folder if there is one, ``never`` starts afresh,
            or the path of a run folder to go on from.
        run_dir: Where everything is written; derived from the configuration if empty.
    """

    env: Any = None
    selector: Any = None
    agent: Any = None
    hindsight: HindsightConfig = field(default_factory=HindsightConfig)
    goal_space: Any = None
    target: Any = None
    seed: int = 0
    seeds: int = 1
    device: str = "auto"
    num_timesteps: float = 1_000_000
    num_envs: int = 32
    gradient_steps: int = 800
    batch_size: int = 256
    buffer_size: int = 1_000_000
    learning_starts: int = 6_400
    learn_beside_rollout: bool = False
    prior: str = ""
    num_candidates: int = 20_000
    after_goal: str = "random"
    patience: float = 0.4
    exploration_spread: float = 1.0
    greedy_share: float = 0.5
    log_interval: int = 5
    eval_interval: int = 10
    eval_episodes: int = 50
    stop_success: float = 0.0
    max_time: float = 0.0
    save_interval: int = 50
    keep_checkpoint: bool = True
    num_threads: int = 0
    cudagraphs: bool = True
    compile: bool = False
    tf32: bool = True
    resume: str = "auto"
    run_dir: str = ""

    def __post_init__(self) -> None:
        positive = (
            "seeds",
            "num_timesteps",
            "num_envs",
            "batch_size",
            "buffer_size",
            "num_candidates",
            "log_interval",
            "eval_interval",
            "eval_episodes",
            "save_interval",
        )
        for key in positive:
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
        if not self.num_timesteps < math.inf:
            raise ValueError(f"num_timesteps must be finite, got {self.num_timesteps}")
        for key in ("seed", "gradient_steps", "learning_starts", "num_threads", "max_time"):
            if not getattr(self, key) >= 0:
                raise ValueError(f"{key} must not be negative, got {getattr(self, key)}")
        if self.seed + self.seeds > 2**63:
            raise ValueError(f"seed + seeds must be at most 2**63, got seed={self.seed}, seeds={self.seeds}")
        if self.buffer_size > 2**24:
            raise ValueError(f"buffer_size must be at most {2**24} (draws are float32), got {self.buffer_size}")
        if self.num_candidates < self.num_envs:
            raise ValueError(
                f"num_candidates={self.num_candidates} is less than num_envs={self.num_envs}; "
                "the selector needs a candidate for each environment"
            )
        for key in ("patience", "exploration_spread", "greedy_share", "stop_success"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} must lie in [0, 1], got {getattr(self, key)}")
        if self.after_goal not in AFTER_GOAL:
            raise ValueError(f"after_goal is {self.after_goal!r}; allowed: {', '.join(AFTER_GOAL)}")
        if self.device not in ("auto", "cpu", "cuda") and not self.device.startswith("cuda:"):
            raise ValueError(f"device is {self.device!r}; allowed: auto, cpu, cuda, cuda:N")


def schema_node(dataclass_type: type, name: str = "") -> DictConfig:
    """The typed OmegaConf node of a dataclass, open to overrides even if instances of the class are frozen.

    Args:
        dataclass_type: The dataclass.
        name: Value of its key ``name``, if that is to differ from the default.
    """
    node = OmegaConf.structured(dataclass_type)
    OmegaConf.set_readonly(node, False)
    if name:
        node.name = name
    for key in node:  # a plain dict takes any key, as the arguments of an environment need it
        child = node._get_node(key)
        if isinstance(child, DictConfig) and OmegaConf.get_type(child) is dict:
            OmegaConf.set_struct(child, False)
    return node

"""Hyperparameters of TD3."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TD3Config:
    """Hyperparameters.

    Attributes:
        name: Name in configs and tables.
        hidden_sizes: Hidden widths of actor and critics.
        num_critics: Size of the value ensemble.
        learning_rate: Of Adam, for actor and critics.
        mastered_learning_rate: What the learning rate of a run falls to as its target is mastered, so that success
            stays: a policy that goes on learning at full pace forgets now and then.
        gamma: Discount factor. The difference that one step makes to γ^d is largest for γ = d / (d + 1), so 0.98
            suits goals some 50 steps away.
        tau: Polyak rate of the targets, applied at each actor update. Values travel back through the targets, some
            one step in 1/tau actor updates: raise it to 0.1 or 0.2 where goals are hundreds of steps away. Near by
            the default learns as fast and forgets less.
        policy_delay: Critic updates per actor update.
        target_noise: Deviation of the smoothing noise on target actions.
        target_noise_clip: Bound of that noise.
        actor_noise: Deviation of the noise on the actor's actions while it ascends the critics (clipped as the
            target noise is). A deterministic policy likes to stand at the edge of a cliff in Q, where a move is
            just not blocked; noise in its objective keeps it away from there.
        saturation_penalty: Weight of a push, on the actor's outputs before their tanh, back from where an action is
            beyond ±tanh(2) = ±0.964; it grows from 0 there to this at ±1. At the bounds tanh is flat, and an actor
            all of whose actions are there hardly learns any more. Some 1e-4 keep it alive, and leave actions near
            their bounds where the critics want them there.
        policy_average: Rate, per critic update, at which the policy that is evaluated and saved follows the actor: with
            1e-3 it is an average over some 1,000 updates. An actor that goes on learning forgets now and then what it
            could; the average of its parameters hardly does. Exploring follows the actor. 0 evaluates the actor itself.
        exploration_noise: Deviation of the noise on actions in the rollout.
        exploration_noise_clip: Bound of that noise.
        target_critics: Critics, drawn anew for each update, whose minimum is the target of all. The minimum takes off
            a little at each step, so that goals hundreds of steps away are held for two or three times as far and,
            from some distance on, for unreachable. With 1 they are told right, but what was never reached is not held
            for far.
        n_steps: Most steps that the Bellman target looks ahead (Stable-Baselines3's word): γ^n times the value n steps
            on, for goals that the episode pursued or came to. Values travel n steps back at a time, and what the
            minimum of critics takes off is taken off once in n steps. Points hundreds of steps from their target come
            there in a half to a third of the steps with 5. What was done on these n steps counts as the way, noise
            included, so that bodies which fall over do not gain. Needs ``goal_is_terminal``.
        actor_critics: Critics, drawn anew for each update, whose mean the actor ascends.
        goal_is_terminal: Whether the Bellman target ends at the goal even where the episode goes on, so that
            Q = γ^d. Otherwise, as in the paper, the goal pays at every step and Q = γ^d / (1-γ), a scale
            that bootstrapping reaches only after some 1 / (1-γ) turnovers of the targets.
        hindsight_bound: Whether the Bellman target is at least γ^k where the episode is known to have reached the
            goal k steps later. True of every deterministic environment, and it spares bootstrapping the way
            back through k states; where chance decides, it is optimistic. Needs ``goal_is_terminal``.
        hindsight_slack: Factor on those k steps, at least 1; without effect where the bound is off. Above 1 the bound
            still shows the way where nothing is known yet, and leaves room below γ^k for what goes wrong on other
            attempts at the same way, such as a fall.
        hindsight_confidence: Share of that bound that counts, in (0, 1]: the probability with which what came to the
            goal once is taken to come there again; without effect where the bound is off. Like the slack it leaves
            room for what goes wrong, but as much for near goals as for far ones, where a factor on the steps leaves
            nothing of the bound.
        relative_gradients: Whether errors and gains count relative to Q where it is small. Q is the softplus of a
            critic's output z, whose slope is about Q there; the gradient of the squared error, (Q - y) dQ/dz, and what
            the actor ascends, dQ/dz dz/da, have it as a factor, so that far goals, Q = γ^d, hardly count beside near
            ones. Without the factor critics descend the deviance of their link, still least at the mean of y
            (a generalised linear model with softplus as its canonical link, McCullagh & Nelder 1989), and the actor
            ascends z, which is about log Q.
        fused: Whether updates on CUDA run as a few Triton kernels (see ``fused_obstacle`` for when they can).
    """

    name: str = "td3"
    hidden_sizes: list[int] = field(default_factory=lambda: [256, 256, 256])
    num_critics: int = 6
    learning_rate: float = 5e-4
    mastered_learning_rate: float = 5e-5
    gamma: float = 0.98
    tau: float = 0.01
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    actor_noise: float = 0.2
    saturation_penalty: float = 0.0
    policy_average: float = 1e-3
    exploration_noise: float = 0.4
    exploration_noise_clip: float = 0.5
    target_critics: int = 2
    n_steps: int = 1
    actor_critics: int = 3
    goal_is_terminal: bool = True
    hindsight_bound: bool = True
    hindsight_slack: float = 1.0
    hindsight_confidence: float = 1.0
    relative_gradients: bool = False
    fused: bool = True

    def __post_init__(self) -> None:
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"agent.hidden_sizes needs positive widths, got {list(self.hidden_sizes)}")
        for key in ("num_critics", "policy_delay", "target_critics", "actor_critics", "n_steps"):
            if getattr(self, key) < 1:
                raise ValueError(f"agent.{key} must be at least 1, got {getattr(self, key)}")
        for key in ("target_critics", "actor_critics"):
            if getattr(self, key) > self.num_critics:
                raise ValueError(f"agent.{key}={getattr(self, key)} is more than agent.num_critics={self.num_critics}")
        if not 0 < self.gamma < 1:
            raise ValueError(f"agent.gamma must lie strictly between 0 and 1, got {self.gamma}")
        if not 0 < self.tau <= 1:
            raise ValueError(f"agent.tau must lie in (0, 1], got {self.tau}")
        if not 0 <= self.policy_average <= 1:
            raise ValueError(f"agent.policy_average must lie in [0, 1], got {self.policy_average}")
        for key in ("learning_rate", "mastered_learning_rate"):
            if not 0 < getattr(self, key) < math.inf:
                raise ValueError(f"agent.{key} must be positive and finite, got {getattr(self, key)}")
        if not 1 <= self.hindsight_slack < math.inf:
            raise ValueError(f"agent.hindsight_slack must be at least 1 and finite, got {self.hindsight_slack}")
        if not 0 < self.hindsight_confidence <= 1:
            raise ValueError(f"agent.hindsight_confidence must lie in (0, 1], got {self.hindsight_confidence}")
        for key in ("target_noise_clip", "exploration_noise_clip"):  # infinite where nothing is clipped
            if not getattr(self, key) >= 0:
                raise ValueError(f"agent.{key} must not be negative, got {getattr(self, key)}")
        for key in ("target_noise", "actor_noise", "exploration_noise", "saturation_penalty"):
            if not 0 <= getattr(self, key) < math.inf:
                raise ValueError(f"agent.{key} must not be negative, and finite, got {getattr(self, key)}")

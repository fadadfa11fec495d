"""What several test files share, as fixtures: a tiny configuration, small environments, snapshots of a trainer."""

import dataclasses
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from discover_envs.point_maze import PointMazeConfig
from discover_rl.agents import TD3Config
from discover_rl.agents.td3_update import Minibatches, Networks, PlainUpdate, make_networks, prepare
from discover_rl.config import TrainConfig, plugins
from discover_rl.goals import BoxGoals, Environment, PlainView, Step
from discover_rl.nets import StackedMLP
from discover_rl.replay import Batch
from discover_rl.selectors import Discover
from discover_rl.train import Trainer

CPU = torch.device("cpu")


class AsWritten(MetaPathFinder):
    """Spares the kernels the type checks that are wrapped around all other functions: Triton compiles the source."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(fullname, path, target) if fullname == "discover_rl.nets.kernels" else None


sys.meta_path.insert(0, AsWritten())


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tensors here are so small that more threads only cost time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def keep_thread_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """For subprocesses."""
    if "OMP_NUM_THREADS" not in os.environ:
        monkeypatch.setenv("OMP_NUM_THREADS", "1")


# -- configurations ------------------------------------------------------------------------------------------


def tiny_config(rounds: int = 4, **changes: Any) -> TrainConfig:
    """Two runs of six environments on the open maze; four rounds fill the buffer."""
    values: dict[str, Any] = {
        "env": PointMazeConfig(layout="open", max_episode_steps=8),
        "selector": Discover(),
        "agent": TD3Config(hidden_sizes=[16, 16], num_critics=3, actor_critics=2),
        "seeds": 2,
        "device": "cpu",
        "num_envs": 6,
        "gradient_steps": 4,
        "batch_size": 16,
        "num_candidates": 25,
        "log_interval": 1,
        "eval_interval": 2,
        "eval_episodes": 3,
        "save_interval": 100,
    } | changes
    round_size = values["num_envs"] * values["env"].max_episode_steps
    defaults = {
        "num_timesteps": float(rounds * round_size),
        "buffer_size": 4 * round_size,
        "learning_starts": round_size,
    }
    return TrainConfig(**{**defaults, **values})


@pytest.fixture(scope="session")
def tiny_settings() -> Callable[..., TrainConfig]:
    """``tiny_config`` as it is, for what lives longer than a test or wants the pictures."""
    return tiny_config


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TrainConfig]:
    """Without pictures, which take longer than the training; the tests of the command line draw them."""
    monkeypatch.setattr(Trainer, "_save_pictures", lambda *_: None)
    return tiny_config


TINY_ARGUMENTS = [
    "env=point_maze/open",
    "env.max_episode_steps=8",
    "agent.hidden_sizes=[16,16]",
    "agent.num_critics=3",
    "num_envs=6",
    "gradient_steps=4",
    "batch_size=16",
    "num_candidates=25",
    "learning_starts=48",
    "num_timesteps=192",
    "log_interval=1",
    "eval_interval=2",
    "eval_episodes=3",
    "device=cpu",
]


@pytest.fixture
def tiny_arguments() -> list[str]:
    """About the same for the command line."""
    return list(TINY_ARGUMENTS)


# -- what a trainer holds ------------------------------------------------------------------------------------


def snapshot(trainer: Trainer) -> dict[str, Tensor]:
    """Copies of every tensor that training goes on from."""
    generators = {f"generator/{name}": g.get_state() for name, g in trainer._all_generators().items()}
    tensors = {
        **trainer.agent.parameters(),
        **trainer.agent.state(),
        **generators,
        **trainer.snapshots.tensors(),
        **trainer.selector_state._asdict(),
        "rows": trainer.buffer.filled(),
        "rounds": torch.tensor([trainer.rounds, trainer.buffer.rounds_added]),
    }
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@pytest.fixture
def held() -> Callable[[Trainer], dict[str, Tensor]]:
    return snapshot


@pytest.fixture
def differing() -> Callable[..., list[str]]:
    """Names on which two snapshots are not bit for bit the same."""

    def find(one: dict[str, Tensor], other: dict[str, Tensor], run: int | None = None) -> list[str]:
        assert one.keys() == other.keys()
        pairs = {name: (one[name], other[name]) for name in one}
        if run is not None:
            pairs = {name: (_of_run(name, a, run), _of_run(name, b, run)) for name, (a, b) in pairs.items()}
        return [name for name, (a, b) in pairs.items() if not _same_bits(a, b)]

    return find


def _of_run(name: str, tensor: Tensor, run: int) -> Tensor:
    if name.startswith(("generator/", "rounds", "history/steps", "maps/steps")) or tensor.dim() == 0:
        return tensor  # shared by all runs
    return tensor[:, run] if name.startswith(("history/", "maps/")) else tensor[run]


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


# -- two ways to compute an update -----------------------------------------------------------------------------


@pytest.fixture
def matmul_precision() -> Iterator[Callable[[str], None]]:
    """``torch.set_float32_matmul_precision``, taken back afterwards; "highest" to begin with."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield torch.set_float32_matmul_precision
    torch.set_float32_matmul_precision(before)


def all_flats(networks: Networks) -> dict[str, tuple[StackedMLP, Tensor]]:
    """All that an update writes, with the shape that says what lies where."""
    flats = {}
    for name, net, adam in (
        ("actor", networks.actor_net, networks.actor_adam),
        ("critics", networks.critic_net, networks.critic_adam),
    ):
        (moments,) = adam.state.values()
        flats[name] = net, getattr(networks, name)
        flats[f"target_{name}"] = net, getattr(networks, f"target_{name}")
        flats[f"adam/{name}/exp_avg"] = net, moments["exp_avg"]
        flats[f"adam/{name}/exp_avg_sq"] = net, moments["exp_avg_sq"]
    return flats


def by_slot(networks: Networks) -> dict[str, Tensor]:
    """The same by layer and kind, and a copy of the padding."""
    parts = {}
    for name, (net, flat) in all_flats(networks).items():
        rows, padding = flat.detach().flatten(0, -2), torch.ones(flat.shape[-1], dtype=torch.bool)
        for layer, slots in enumerate(net.slots):
            for kind, slot in zip(("weight", "bias"), slots, strict=True):
                parts[f"{name}/{layer}/{kind}"] = rows[:, slot]
                padding[slot] = False
        parts[f"{name}/padding"] = rows[:, padding.to(rows.device)]
    return parts


class Twins:
    """The plain and the fused update with equal networks, somewhere in the middle of training.

    Args:
        config: Of both.
        num_runs: Of both.
        widths: Of observation, action and goal.
        warm: Whether Adam has made some steps already.
        value_max: Largest value there is.
    """

    def __init__(
        self,
        config: TD3Config,
        num_runs: int,
        widths: tuple[int, int, int],
        warm: bool = False,
        value_max: float = 1.0,
    ) -> None:
        from discover_rl.agents.td3_fused import FusedUpdate  # Triton is not there on every platform

        self.config, self.num_runs, self.widths = config, num_runs, widths
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.networks = [self._make_networks(warm) for _ in range(2)]
        self.plain = PlainUpdate(self.networks[0], config, value_max)
        self.fused = FusedUpdate(self.networks[1], config, value_max)
        self.start = {name: part.clone() for name, part in self.parts(0).items()}

    def _make_networks(self, warm: bool) -> Networks:
        obs, act, goal = self.widths
        generator = torch.Generator(self.device).manual_seed(0)
        networks = make_networks(self.config, self.num_runs, obs + goal, act, generator)
        networks.actor.mul_(2)  # actions from one end of the range to the other
        networks.target_actor.copy_(networks.actor)
        for name, part in by_slot(networks).items():
            noise = torch.randn(part.shape, device=self.device, generator=generator)
            if name.startswith("target_"):  # else nobody would see a kernel that takes the online networks
                part.mul_(1 + 0.1 * noise)
            elif warm and "/exp_avg/" in name and not name.endswith("/padding"):
                part.copy_(1e-4 * noise)
            elif warm and "/exp_avg_sq/" in name and not name.endswith("/padding"):
                part.copy_(1e-6 * (1 + noise.square()))
        if warm:
            networks.actor_adam.state[networks.actor]["step"].fill_(3)
            networks.critic_adam.state[networks.critics]["step"].fill_(7)
        return networks

    def batches(self, count: int, batch_size: int, seed: int = 0) -> Minibatches:
        """With rewards, terminations and known steps to the goal independent of each other."""
        obs, act, goal = self.widths
        generator = torch.Generator(self.device).manual_seed(100 + seed)
        lead = (self.num_runs, count, batch_size)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*lead, *shape, device=self.device, generator=generator)

        drawn = Batch(
            observation=normal(obs),
            action=normal(act).clamp(-1, 1),
            next_observation=normal(obs),
            goal=normal(goal),
            reward=normal().gt(1).float(),
            terminated=normal().gt(1).float(),
            steps=normal().abs().ceil(),
            steps_to_goal=torch.where(normal() > 0, 20 * normal().abs(), torch.inf),
        )
        return prepare(drawn, PlainView(obs, goal), self.config, True, generator)

    def update(self, minibatches: Minibatches, first: int) -> None:
        """Both, each on its own copy, for both write into it."""
        for way in (self.plain, self.fused):
            way(Minibatches(*(tensor.clone() for tensor in minibatches)), first)

    def parts(self, which: int) -> dict[str, Tensor]:
        """All that the plain (0) or fused (1) update writes, by slot; views of shape (net, number)."""
        return by_slot(self.networks[which])

    def apart(self) -> dict[str, float]:
        """Distance between the two by slot, in units of the way from the start, for the worst of the networks.

        Adam divides small gradients by themselves, so a rounding error may grow; the way tells how far it matters.
        """
        plain, fused = self.parts(0), self.parts(1)
        distances = {}
        for name, part in plain.items():
            distance, way = (part - fused[name]).norm(dim=-1), (part - self.start[name]).norm(dim=-1)
            if name.endswith("/padding"):
                assert not way.any()
                way = torch.ones_like(way)
            assert (way > 0).all(), f"{name} has not moved: nothing can be said of it"
            distances[name] = float((distance / way).max())
        return distances

    def steps(self) -> list[tuple[float, float]]:
        """Adam's counts of the actor and of the critics, for both."""
        return [
            (
                float(networks.actor_adam.state[networks.actor]["step"]),
                float(networks.critic_adam.state[networks.critics]["step"]),
            )
            for networks in self.networks
        ]


@pytest.fixture
def twins(matmul_precision: Callable[[str], None]) -> type[Twins]:
    return Twins


# -- environments --------------------------------------------------------------------------------------------


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Any], None]:
    """Make an environment known by name, as if a package had registered it."""
    real, added = plugins.entry_points, []

    def entry_points(*, group: str) -> list[Any]:
        return [*real(group=group), *(added if group == "discover_rl.environments" else [])]

    monkeypatch.setattr(plugins, "entry_points", entry_points)

    def register(name: str, factory: Any) -> None:
        added.append(SimpleNamespace(name=name, value="tests:factory", load=lambda: factory))

    return register


@dataclass
class WalkConfig:
    """A point on a line whose episodes may end at random."""

    name: str = "walk"
    fail: float = 0.0
    cut: float = 0.0
    terminate_on_success: bool = False
    max_episode_steps: int = 12


class Walk:
    """Observation: place, number of the environment, episode of the round and step, the last two divided by 10.

    So every transition tells where it belongs. The goal is a place; one step moves by 0.2 at most.
    """

    Config: ClassVar = WalkConfig

    def __init__(self, config: WalkConfig, num_envs: int, device: torch.device, seed: int) -> None:
        self.config, self.num_envs, self.device = config, num_envs, device
        self.observation_dim, self.action_dim = 4, 1
        self.max_episode_steps = config.max_episode_steps
        self.goal_space = BoxGoals([0], 0.1, ["place"])
        self.ends_early = config.fail > 0 or config.cut > 0
        self.terminate_on_success = config.terminate_on_success
        self.generator = torch.Generator(device).manual_seed(seed)
        self.state = torch.zeros(num_envs, 4, device=device)
        self.state[:, 1] = torch.arange(num_envs)

    def reset(self, mask: Tensor | None = None) -> Tensor:
        start = torch.rand(self.num_envs, generator=self.generator, device=self.device) * 0.2 - 0.1
        episode = torch.zeros_like(start) if mask is None else self.state[:, 2] + 0.1
        mask = torch.ones_like(start, dtype=torch.bool) if mask is None else mask
        fresh = torch.stack([start, self.state[:, 1], episode, torch.zeros_like(start)], dim=1)
        self.state = torch.where(mask[:, None], fresh, self.state)
        return self.state

    def targets(self) -> Tensor:
        return torch.full((self.num_envs, 1), 0.9, device=self.device)

    def step(self, action: Tensor) -> Step:
        place = (self.state[:, 0] + 0.2 * action[:, 0].clamp(-1, 1)).clamp(-1, 1)
        self.state = torch.stack([place, self.state[:, 1], self.state[:, 2], self.state[:, 3] + 0.1], dim=1)
        chance = torch.rand(self.num_envs, generator=self.generator, device=self.device)
        fails = chance < self.config.fail
        return Step(self.state, fails, (chance < self.config.fail + self.config.cut) & ~fails)


@pytest.fixture
def walk(plug_in: Callable[[str, Any], None]) -> type[WalkConfig]:
    """The configuration of the walk, which is registered."""
    plug_in("walk", Walk)
    return WalkConfig


class WithSimulation:
    """An environment told apart as ``Simulated`` has it: what ``simulate`` reads and writes keeps its address."""

    capturable = False

    def __init__(self, env: Any) -> None:
        self.env, self.action, self.outcome = env, None, None
        for name in Environment.__annotations__:  # not by __getattr__, which Python 3.12 does not count in a protocol
            setattr(self, name, getattr(env, name))

    def reset(self, mask: Tensor | None = None) -> Tensor:
        return self.env.reset(mask)

    def targets(self) -> Tensor:
        return self.env.targets()

    def begin_step(self, action: Tensor) -> None:
        self.action = torch.zeros_like(action) if self.action is None else self.action
        self.action.copy_(action)

    def simulate(self) -> None:
        step = self.env.step(self.action)
        if self.outcome is None:
            self.outcome = Step(*(tensor.clone() for tensor in step))
        for kept, new in zip(self.outcome, step, strict=True):
            kept.copy_(new)

    def end_step(self) -> Step:
        assert self.outcome is not None
        return Step(*self.outcome)

    def step(self, action: Tensor) -> Step:
        self.begin_step(action)
        self.simulate()
        return self.end_step()


@pytest.fixture
def simulated() -> type[WithSimulation]:
    return WithSimulation


class Scripted:
    """Environments that play back places on a line, whatever the action.

    Args:
        script: For each environment its episodes, each a list of places from the start on; the last episode
            repeats. An episode ends after its places ("fail", "cut" as its last item) or stays at the last.
        steps: Time limit.
        terminate_on_success: Whether reaching the goal ends an episode.
    """

    def __init__(
        self, script: Sequence[Sequence[Sequence[float | str]]], steps: int, terminate_on_success: bool = False
    ) -> None:
        self.script, self.num_envs, self.device = script, len(script), CPU
        self.observation_dim = self.action_dim = 1
        self.max_episode_steps, self.terminate_on_success = steps, terminate_on_success
        self.goal_space = BoxGoals([0], 0.1)
        self.ends_early = any(isinstance(episode[-1], str) for episodes in script for episode in episodes)
        self.generator = torch.Generator().manual_seed(0)
        self.episode, self.time = [-1] * self.num_envs, [0] * self.num_envs
        self.resets: list[list[bool]] = []

    def _now(self, env: int) -> list[float | str]:
        return list(self.script[env][min(max(self.episode[env], 0), len(self.script[env]) - 1)])

    def _observe(self) -> Tensor:
        places = [[x for x in self._now(env) if not isinstance(x, str)] for env in range(self.num_envs)]
        return torch.tensor([[p[min(t, len(p) - 1)]] for p, t in zip(places, self.time, strict=True)])

    def reset(self, mask: Tensor | None = None) -> Tensor:
        chosen = [True] * self.num_envs if mask is None else mask.tolist()
        self.resets.append(chosen)
        for env in range(self.num_envs):
            if chosen[env]:
                self.episode[env], self.time[env] = self.episode[env] + 1, 0
        return self._observe()

    def rewind(self) -> None:
        """The next reset starts the first episodes."""
        self.episode, self.resets = [-1] * self.num_envs, []

    def targets(self) -> Tensor:
        return torch.full((self.num_envs, 1), 1.0)

    def step(self, action: Tensor) -> Step:
        assert action.shape == (self.num_envs, 1)
        self.time = [t + 1 for t in self.time]
        ends = {}
        for mark in ("fail", "cut"):
            ends[mark] = torch.tensor(
                [
                    self._now(env)[-1] == mark and self.time[env] >= len(self._now(env)) - 2
                    for env in range(self.num_envs)
                ]
            )
        return Step(self._observe(), ends["fail"], ends["cut"])


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture
def replaced() -> Callable[..., Any]:
    """``dataclasses.replace`` for configurations."""
    return dataclasses.replace


# -- a browser -----------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Callable[[Path], Any]]:
    """Opens files in a headless browser of this machine, without any network.

    It gives a context manager: the page, and a list of everything that went wrong in it or was asked of a network.
    """
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser found ({', '.join(BROWSERS)}); on Debian: apt-get install -y chromium")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])

        @contextmanager
        def opened(path: Path) -> Iterator[tuple[Any, list[str]]]:
            tab, trouble = chromium.new_page(viewport={"width": 1300, "height": 1000}), []
            tab.on("console", lambda said: trouble.append(said.text) if said.type in ("error", "warning") else None)
            tab.on("pageerror", lambda error: trouble.append(str(error)))
            tab.on("request", lambda request: trouble.append(request.url) if request.url.startswith("http") else None)
            tab.context.set_offline(True)
            tab.goto(path.as_uri())
            yield tab, trouble
            tab.close()

        yield opened
        chromium.close()

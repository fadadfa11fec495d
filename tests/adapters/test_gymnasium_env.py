"""Any Gymnasium environment keeps the contract of our loop, and what cannot be used is said."""

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from discover_rl.adapters.gymnasium_env import GymnasiumConfig, GymnasiumEnv, make_one
from discover_rl.adapters.reward_goals import RewardGoals, goals_of
from discover_rl.build import make_environment
from discover_rl.evaluate import evaluate
from discover_rl.goals import BoxGoals
from discover_rl.selectors import HER, Discover
from discover_rl.train import Trainer, train

CPU = torch.device("cpu")
HERE = __name__


class Plane(gymnasium.Env):
    """A point on a plane that moves by its action; every episode has another target. It ends at its own target."""

    def __init__(self, dense: bool = False, diamond: bool = False, ends: bool = True, scale: float = 1.0) -> None:
        inner: dict[str, spaces.Space] = {"speed": spaces.Box(-1, 1, (1,)), "kind": spaces.Discrete(3)}
        parts: dict[str, spaces.Space] = {"observation": spaces.Dict(inner)}
        for key in ("achieved_goal", "desired_goal"):
            parts[key] = spaces.Box(-9, 9, (2,))
        self.observation_space = spaces.Dict(parts)
        self.action_space = spaces.Box(np.array([0.0, -2.0]), np.array([1.0, 4.0]), dtype=np.float64)
        self.dense, self.diamond, self.ends, self.scale = dense, diamond, ends, scale
        self.place = self.target = np.zeros(2)
        self.taken: list[np.ndarray] = []

    def _observe(self) -> dict[str, Any]:
        inner = {"speed": np.array([0.5]), "kind": 2}
        return {"observation": inner, "achieved_goal": self.place.copy(), "desired_goal": self.target.copy()}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.1, 0.1, 2)
        self.target = self.np_random.uniform(-1, 1, 2)  # some starts have solved it
        return self._observe(), {}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> Any:
        distance = np.linalg.norm(achieved - desired, axis=-1, ord=1 if self.diamond else 2)
        return -distance if self.dense else -(distance > 0.3).astype(np.float32)

    def compute_terminated(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> bool:
        return self.ends and bool(self.compute_reward(achieved, desired, info) == 0)

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.taken.append(action)
        self.place = self.place + self.scale * 0.1 * (action - np.array([0.5, 1.0]))
        reward = float(self.compute_reward(self.place, self.target, {}))
        failed = bool(np.abs(self.place).max() > 1.5)
        return self._observe(), reward, failed or self.compute_terminated(self.place, self.target, {}), False, {}


class Corridor(gymnasium.Env):
    """An ordinary environment: walk right by action 2; falls off on the left."""

    observation_space = spaces.Box(-5, 5, (1, 2))
    action_space = spaces.Discrete(2, start=1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(-0.1, 0.1))
        return self._observe(), {}

    def _observe(self) -> np.ndarray:
        return np.array([[self.place, 1.0]], dtype=np.float32)

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action in (1, 2)
        self.place += 0.25 if action == 2 else -0.25
        return self._observe(), 0.0, self.place < -1, self.place > 2, {}


class Pictures(Corridor):
    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)


class OneByOne(Plane):
    def compute_reward(self, achieved, desired, info):
        return 0.0 if np.linalg.norm(achieved - desired) < 0.3 else -1.0


def plane(num_envs=5, seed=0, steps=20, **changes):
    return GymnasiumEnv(GymnasiumConfig(id=f"{HERE}:Plane", max_episode_steps=steps, **changes), num_envs, CPU, seed)


# -- goal environments ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sync", "async"])
def both(request):
    env = plane(vectorization=request.param)
    yield env
    env.close()


def test_the_observation_is_flat_with_the_achieved_goal_at_its_end(both):
    observation = both.reset()
    assert observation.shape == (5, 6)  # kind as one of three, speed, achieved goal
    assert observation.dtype == torch.float32
    assert observation[:, :4].tolist() == [[0, 0, 1, 0.5]] * 5
    assert both.goal_space.achieved(observation).equal(observation[:, 4:])
    assert both.targets().unique(dim=0).shape == (5, 2)
    step = both.step(torch.tensor([[1.0, -1.0]] * 5))
    moved = step.observation - observation
    torch.testing.assert_close(moved[:, 4:], torch.tensor([[0.05, -0.3]] * 5))  # the bounds are (0, 1) and (-2, 4)


def test_the_ball_of_the_reward_is_found(both):
    assert isinstance(both.goal_space, BoxGoals)
    assert both.goal_space.radius == pytest.approx(0.3, rel=1e-5)
    assert both.terminate_on_success
    assert not plane(kwargs={"ends": False}).terminate_on_success
    assert not plane(terminate_on_success=False).terminate_on_success


def test_no_start_is_solved_and_every_episode_has_its_own_target():
    env = plane(200)
    first = None
    for _ in range(3):
        observation = env.reset()
        assert not env.goal_space.success(env.goal_space.achieved(observation), env.targets()).any()
        assert first is None or not first.equal(env.targets())
        first = env.targets()


def test_a_masked_reset_changes_the_others_in_nothing(both):
    before = both.reset()
    targets = both.targets()
    kept = before.clone(), targets.clone()
    mask = torch.tensor([True, False, False, True, False])
    after = both.reset(mask)
    assert after[~mask].equal(before[~mask])
    assert both.targets()[~mask].equal(targets[~mask])
    assert not after[mask].equal(before[mask])
    assert before.equal(kept[0])  # never written to
    assert targets.equal(kept[1])
    assert both.reset(torch.zeros(5, dtype=torch.bool)).equal(after)


def test_the_same_generator_gives_the_same_episodes(both):
    state, action = both.generator.get_state(), torch.rand(5, 2) * 2 - 1
    one = both.reset(), both.targets(), both.step(action).observation
    both.generator.set_state(state)
    other = both.reset(), both.targets(), both.step(action).observation
    assert all(a.equal(b) for a, b in zip(one, other, strict=True))


def test_ending_at_its_own_goal_is_no_termination_but_a_failure_is():
    env = plane(3, kwargs={"scale": 3.0})
    env.reset()
    reached, step = torch.zeros(3, dtype=torch.bool), env.step(torch.zeros(3, 2))
    for _ in range(40):
        achieved = env.goal_space.achieved(env._observation)
        wanted = env.targets() if not reached.all() else torch.full((3, 2), 5.0)
        direction = (wanted - achieved).clamp(-0.1, 0.1) / torch.tensor([0.15, 0.9])
        step = env.step(direction.clamp(-1, 1))
        now = env.goal_space.achieved(step.observation)
        assert step.terminated.equal((now.abs() > 1.5).any(1))
        assert not step.truncated.any()
        reached |= env.goal_space.success(now, env.targets())
        if step.terminated.any():
            break
    assert reached.all()
    assert step.terminated.any()


def test_a_reward_that_is_no_ball_is_asked():
    env = plane(kwargs={"diamond": True})
    space = env.goal_space
    assert isinstance(space, RewardGoals)
    assert not space.capturable
    achieved = torch.zeros(2, 3, 2)
    desired = torch.tensor([[0.2, 0.0], [0.2, 0.2], [0.0, -0.29]])
    assert space.success(achieved, desired.expand(2, 3, 2)).tolist() == [[True, False, True]] * 2
    assert space.success(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)


# -- ordinary environments -----------------------------------------------------------------------------------


def corridor(**changes):
    return GymnasiumConfig(id=f"{HERE}:Corridor", max_episode_steps=30, **changes)


def test_an_ordinary_environment_gets_goals_by_a_goal_space_and_a_target():
    env = make_environment(corridor(), 4, CPU, 0, BoxGoals([0], 0.2), [1.5])
    assert (env.observation_dim, env.action_dim, env.discrete_actions, env.capturable) == (2, 2, True, False)  # type: ignore[attr-defined]
    env.reset()
    right, left = torch.tensor([[-1.0, 0.5]]), torch.tensor([[0.9, 0.1]])
    start = env.reset()
    step = env.step(torch.cat([right, right, right, left]))
    torch.testing.assert_close(step.observation[:, 0] - start[:, 0], torch.tensor([0.25, 0.25, 0.25, -0.25]))
    for _ in range(3):
        assert not step.terminated.any()
        step = env.step(torch.cat([right, right, right, left]))
    while not step.truncated.any():
        env.reset(step.terminated)
        step = env.step(right.expand(4, 2))
    assert not (step.truncated & step.terminated).any()


def test_without_goals_it_says_what_is_missing():
    with pytest.raises(
        ValueError, match=r"Corridor is no goal environment: its observation is Box, not a Dict .*; nam"
    ):
        make_environment(corridor(), 2, CPU, 0)
    with pytest.raises(ValueError, match=r"has none, but the goal space has 1; give a target, e.g. target=\[1.0\]"):
        make_environment(corridor(), 2, CPU, 0, BoxGoals([0], 0.2))


def test_a_package_that_mujoco_gl_keeps_from_being_imported_is_said(monkeypatch):
    def fails(package):
        raise AttributeError(f"{package}: no glGetError")

    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr("discover_rl.adapters.gymnasium_env.import_module", fails)
    with pytest.raises(ValueError, match="could not be imported: gymnasium_robotics: no glGetError; MUJOCO_GL=osmesa"):
        make_one(GymnasiumConfig(id="NoSuch-v0"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"id": ""}, "env.id is empty; give the id of a Gymnasium environment"),
        ({"id": "CartPol-v1"}, "there is no Gymnasium environment 'CartPol-v1'; did you mean 'CartPole-v1'?"),
        ({"id": f"{HERE}:HERE"}, "is no gymnasium.Env"),
        ({"id": f"{HERE}:Corridor"}, "has no time limit of its own; give one, e.g. env.max_episode_steps=200"),
        ({"id": f"{HERE}:Pictures", "max_episode_steps": 5}, "images ((8, 8, 3), uint8) cannot be learned from"),
        ({"id": "CartPole-v1", "kwargs": {"odd": 1}}, "could not be made with env.kwargs={'odd': 1}: TypeError"),
        ({"id": "Taxi-v4"}, ""),
        ({"max_episode_steps": -1}, "env.max_episode_steps must not be negative, got -1"),
        ({"vectorization": "threads"}, "env.vectorization is 'threads'; allowed: sync, async"),
    ],
    ids=range(9),
)
def test_what_cannot_be_used_is_said(changes, sentence):
    if not sentence:
        assert GymnasiumEnv(GymnasiumConfig(**changes), 1, CPU, 0).reset().shape == (1, 500)  # one of 500 places
        return
    with pytest.raises(ValueError) as info:
        GymnasiumEnv(GymnasiumConfig(**changes), 1, CPU, 0)
    assert sentence in str(info.value)


@pytest.mark.parametrize(
    ("name", "kwargs", "sentence"),
    [
        ("Plane", {"dense": True}, "compute_reward takes"),
        ("OneByOne", {}, "compute_reward of a batch must be the rewards one by one, of shape (12,); it has shape ()"),
    ],
)
def test_rewards_that_do_not_say_what_is_success(name, kwargs, sentence):
    env = GymnasiumEnv(GymnasiumConfig(id=f"{HERE}:{name}", kwargs=kwargs, max_episode_steps=9), 2, CPU, 0)
    with pytest.raises(ValueError) as info:
        env.targets()
    assert sentence in str(info.value)
    assert make_environment(env.config, 2, CPU, 0, BoxGoals([-2, -1], 0.1), [1.0, 1.0]).goal_space.dim == 2


def test_actions_of_the_wrong_shape_and_nan_are_noticed():
    env = plane(2)
    env.reset()
    with pytest.raises(ValueError, match=r"action has shape \(2, 3\), expected \(2, 2\)"):
        env.step(torch.zeros(2, 3))
    env.step(torch.tensor([[0.0, torch.nan], [0.0, 0.0]]))
    assert env.invalid_actions.tolist() == [True, False]


# -- in the loop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", [Discover(), HER()], ids=lambda selector: selector.name)
def test_it_trains_and_resumes_bit_for_bit(tiny, tmp_path, held, differing, selector):
    config = tiny(4, env=GymnasiumConfig(id=f"{HERE}:Plane", max_episode_steps=8), selector=selector)
    whole, half = Trainer(config), Trainer(config)
    for trainer, rounds in ((whole, 4), (half, 2)):
        for _ in range(rounds):
            trainer.train_round()
    half.save(tmp_path)
    rest = Trainer(config)
    rest.restore(tmp_path / "checkpoint.safetensors")
    for _ in range(2):
        rest.train_round()
    assert differing(held(whole), held(rest)) == []
    evaluation = evaluate(whole.agent, whole.eval_env, 2)
    assert evaluation.success_at_start.max() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_goals_that_ask_the_environment_are_not_captured(tiny):
    config = GymnasiumConfig(id=f"{HERE}:Plane", max_episode_steps=8, kwargs={"diamond": True})
    trainer = Trainer(tiny(6, env=config, device="cuda"))
    for _ in range(6):
        trainer.train_round()
    assert trainer._update.graph is None and trainer.roll_out.whole.graph is None
    assert trainer.agent.metrics()["train/critic_loss"].isfinite().all()


ROBOTS = [
    ("FetchReach-v4", 13, 4, "BoxGoals", 0.05),
    ("PointMaze_UMaze-v3", 6, 2, "BoxGoals", 0.45),
    ("AntMaze_UMaze-v5", 107, 8, "BoxGoals", 0.45),
    ("HandReach-v3", 78, 20, "BoxGoals", 0.01),
]


@pytest.mark.parametrize(("env_id", "width", "actions", "kind", "radius"), ROBOTS, ids=[robot[0] for robot in ROBOTS])
def test_families_of_gymnasium_robotics(env_id, width, actions, kind, radius):
    pytest.importorskip("gymnasium_robotics")
    env = make_environment(GymnasiumConfig(id=env_id), 2, CPU, 0)
    assert (env.observation_dim, env.action_dim) == (width, actions)
    assert (type(env.goal_space).__name__, env.goal_space.radius) == (kind, pytest.approx(radius))  # type: ignore[attr-defined]
    assert env.step(torch.zeros(2, actions)).observation.isfinite().all()
    own = make_one(GymnasiumConfig(id=env_id))
    assert goals_of(own, env_id).ends is env.terminate_on_success is False


@pytest.mark.parametrize(("env_id", "steps"), [("FetchReach-v4", 10), ("PointMaze_UMaze-v3", 30)])
def test_gymnasium_robotics_trains(tiny, tmp_path, env_id, steps):
    pytest.importorskip("gymnasium_robotics")
    config = tiny(3, env=GymnasiumConfig(id=env_id, max_episode_steps=steps), seeds=1, num_envs=3)
    trainer = train(config, tmp_path)
    assert trainer.num_timesteps == 3 * 3 * steps
    assert trainer.buffer.filled()[0, :, -2].max() == 0  # nothing has terminated
    assert torch.isfinite(trainer.agent.metrics()["train/critic_loss"]).all()


def test_other_modules_are_not_disturbed():
    import mujoco

    utils = sys.modules.get("gymnasium_robotics.utils.mujoco_utils")
    if utils is not None:
        assert utils.mujoco is not mujoco
        assert utils.mujoco.mj_step is mujoco.mj_step  # type: ignore[attr-defined]

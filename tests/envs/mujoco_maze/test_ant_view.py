"""The ant as seen from the side that faces its goal, or the way it goes."""
# pyright: reportAttributeAccessIssue=false
# (mujoco's classes come from a C extension, whose names Pyright does not see)

import math
from dataclasses import dataclass, replace

import mujoco
import numpy as np
import pytest
import torch

from discover_envs.mujoco_maze.ant import AntMaze, AntMazeConfig
from discover_envs.mujoco_maze.ant_view import AntView
from discover_rl.cli.composing import composed
from discover_rl.goals import Seen, View
from discover_rl.train import Trainer

BENDS, MOTOR_LEGS = (1, -1, -1, 1), (3, 0, 1, 2)  # as the docstring of AntMaze has them
# the columns that tell where the ant is in the maze, and where its goal
WHERE = {"goal": slice(2, 7), "motion": slice(2, 9)}


@dataclass(frozen=True)
class Situation:
    """An ant, what it does and where it shall go, by leg rather than by joint: (hip, ankle bent outwards)."""

    place: np.ndarray
    height: float
    orientation: np.ndarray
    angles: np.ndarray
    velocity: np.ndarray
    spin: np.ndarray
    rates: np.ndarray
    torques: np.ndarray
    goal: np.ndarray

    def legs_counted_from(self, leg: int) -> "Situation":
        """The same situation, its legs named differently, so that the torso's own axes lie elsewhere."""
        quarters = leg * math.pi / 2
        return replace(
            self,
            orientation=times(self.orientation, about_vertical(quarters)),
            spin=np.append(rotation(-quarters) @ self.spin[:2], self.spin[2]),
            angles=np.roll(self.angles, -leg, 0),
            rates=np.roll(self.rates, -leg, 0),
            torques=np.roll(self.torques, -leg, 0),
        )

    def in_a_mirror(self) -> "Situation":
        """With y turned round."""
        hip = np.array([-1, 1])
        return replace(
            self,
            place=self.place * [1, -1],
            goal=self.goal * [1, -1],
            orientation=self.orientation * [1, -1, 1, -1],
            velocity=self.velocity * [1, -1, 1],
            spin=self.spin * [-1, 1, -1],
            **{name: getattr(self, name)[::-1] * hip for name in ("angles", "rates", "torques")},
        )

    def turned(self, angle: float) -> "Situation":
        """With the world turned about the origin."""
        turn = rotation(angle)
        return replace(
            self,
            place=turn @ self.place,
            goal=turn @ self.goal,
            orientation=times(about_vertical(angle), self.orientation),
            velocity=np.append(turn @ self.velocity[:2], self.velocity[2]),
        )

    def state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """qpos, qvel and the motors' controls."""
        bends = np.array([[1, bend] for bend in BENDS])
        qpos = np.concatenate([self.place, [self.height], self.orientation, (self.angles * bends).ravel()])
        qvel = np.concatenate([self.velocity, self.spin, (self.rates * bends).ravel()])
        return qpos, qvel, (self.torques * bends)[list(MOTOR_LEGS)].ravel()


def rotation(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def about_vertical(angle):
    return np.array([math.cos(angle / 2), 0, 0, math.sin(angle / 2)])


def times(one, other):
    product = np.zeros(4)
    mujoco.mju_mulQuat(product, one, other)
    return product


def some_situation(rng):
    orientation = rng.normal(size=4) * [1, 0.3, 0.3, 1]
    angles = np.stack([rng.uniform(-0.5, 0.5, 4), rng.uniform(0.5, 1.2, 4)], -1)
    return Situation(
        place=rng.normal(size=2),
        height=rng.uniform(0.4, 0.8),
        orientation=orientation / np.linalg.norm(orientation),
        angles=angles,
        velocity=rng.normal(size=3),
        spin=rng.normal(size=3),
        rates=rng.normal(size=(4, 2)),
        torques=rng.uniform(-1, 1, (4, 2)),
        goal=5 * rng.normal(size=2),
    )


@pytest.fixture(scope="module", params=["goal", "motion"])
def maze(request):
    config = AntMazeConfig(egocentric=True, front=request.param, layout="large_plain", cone="elliptic", num_threads=1)
    return AntMaze(config, 1, torch.device("cpu"), 0)


def seen(maze, qpos, qvel, goal):
    observation = torch.tensor(np.concatenate([qpos, qvel]), dtype=torch.float32)
    found = maze.view.see(observation, torch.tensor(goal, dtype=torch.float32))
    return torch.cat(found.parts, -1), found.side


def after_a_step(maze, qpos, qvel, control):
    """In the middle of a wide room, where the start is."""
    data = mujoco.MjData(maze.model)
    data.qpos[:], data.qvel[:], data.ctrl[:] = qpos, qvel, control
    mujoco.mj_step(maze.model, data, nstep=5)
    return data.qpos, data.qvel


def without_place(maze, columns):
    where = WHERE[maze.config.front]
    return torch.cat([columns[..., : where.start], columns[..., where.stop :]], -1)


@pytest.mark.parametrize("leg", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_ants_that_are_the_same_but_for_names_and_directions_look_the_same_and_stay_so(maze, leg, mirrored):
    rng = np.random.default_rng(leg)
    sides = set()
    for _ in range(20):
        one = some_situation(rng)
        other = one.in_a_mirror() if mirrored else one
        other = other.legs_counted_from(leg).turned(rng.uniform(-3, 3))
        (here, side), (there, other_side) = (seen(maze, *s.state()[:2], s.goal) for s in (one, other))
        torch.testing.assert_close(without_place(maze, here), without_place(maze, there), atol=1e-4, rtol=0)
        controls = [torch.tensor(s.state()[2], dtype=torch.float32) for s in (one, other)]
        acted = [maze.view.seen_action(c, s) for c, s in zip(controls, (side, other_side), strict=True)]
        torch.testing.assert_close(*acted)
        moved = [seen(maze, *after_a_step(maze, *s.state()), s.goal)[0] for s in (one, other)]
        torch.testing.assert_close(without_place(maze, moved[0]), without_place(maze, moved[1]), atol=1e-3, rtol=0)
        assert not torch.allclose(without_place(maze, here), without_place(maze, moved[0]), atol=0.1)
        sides.add(int(side))
    assert len(sides) > 4


def test_what_the_ant_faces_is_ahead_to_the_left_and_the_maze_can_be_told(maze):
    rng = np.random.default_rng(1)
    for _ in range(50):
        one = some_situation(rng)
        qpos, qvel, _ = one.state()
        columns, _ = seen(maze, qpos, qvel, one.goal)
        forward, left, x, y = columns[:4].tolist()
        moves = maze.config.front == "motion"
        cos, sin, mirror = columns[6:9].tolist() if moves else columns[4:7].tolist()
        ahead = np.array([forward * cos - mirror * left * sin, forward * sin + mirror * left * cos])
        # from what is seen of the maze, the goal is found again
        np.testing.assert_allclose(0.9 * (np.array([x, y]) + ahead), one.goal, atol=1e-4)
        away = one.goal - one.place
        assert math.hypot(forward, left) == pytest.approx(np.linalg.norm(away) / 0.9, rel=1e-5)
        if moves:
            np.testing.assert_allclose(0.9 * columns[4:6], one.goal, atol=1e-4)
        towards = one.velocity[:2] + away / np.linalg.norm(away) if moves else away
        faced = towards @ [cos, sin], mirror * (towards @ [-sin, cos])
        assert -1e-5 <= faced[1] <= faced[0] + 1e-5


def test_a_standing_ant_faces_its_goal_and_a_walking_one_its_way():
    """The goal is behind it."""
    view = AntView(torch.ones(29), "motion")
    standing = torch.zeros(29)
    standing[3] = 1
    walking = standing.clone()
    walking[15] = 2
    slow = standing.clone()
    slow[15] = 0.9
    goal = torch.tensor([-3.0, 0.1])
    for observation, front in ((standing, -1.0), (slow, -1.0), (walking, 1.0)):
        columns = view.see(observation, goal).parts[0]
        assert columns[6] == pytest.approx(front, abs=1e-5)
    assert view.see(standing, torch.zeros(2)).parts[0].isfinite().all()


def test_actions_go_to_and_fro(maze):
    action = torch.rand(8, 8) * 2 - 1
    side = torch.arange(8)
    there = maze.view.seen_action(action, side)
    assert maze.view.own_action(there, side).equal(action)
    assert len({tuple(row.tolist()) for row in maze.view.seen_action(action[:1].expand(8, 8), side)}) == 8


@pytest.mark.parametrize("front", ["goal", "motion"])
def test_an_agent_learns_and_acts_in_the_view_of_its_environment(front):
    overrides = ["experiment=ant_small", f"env.front={front}", "env.num_threads=1", "device=cpu"]
    small = ["num_envs=2", "learning_starts=0", "gradient_steps=4", "batch_size=16", "num_candidates=10"]
    trainer = Trainer(composed([*overrides, *small, "buffer_size=2000"]))
    view = trainer.env.view  # type: ignore[attr-defined]
    assert isinstance(view, View) and trainer.agent.view is view  # type: ignore[attr-defined]
    before = trainer.agent.parameters()["critics"].clone()
    trainer.train_round()
    assert not trainer.agent.parameters()["critics"].equal(before)
    # a policy of the view does the same thing in situations that look the same
    rng = np.random.default_rng(2)
    one = some_situation(rng)
    other = one.legs_counted_from(3)
    acted, valued = [], []
    for situation in (one, other):
        qpos, qvel, _ = situation.state()
        observation = torch.tensor(np.concatenate([qpos, qvel]), dtype=torch.float32)
        goal = torch.tensor(situation.goal, dtype=torch.float32)
        found = view.see(observation, goal)
        assert isinstance(found, Seen) and found.side is not None
        action = trainer.agent.act(observation[None, None], goal[None, None])[0, 0]
        acted.append(view.seen_action(action, found.side))
        valued.append(trainer.agent.values(observation[None, None], goal[None, None]).mean)
    torch.testing.assert_close(*acted, atol=1e-4, rtol=0)
    torch.testing.assert_close(*valued, atol=1e-3, rtol=0)


def test_a_front_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"front is 'back'; allowed: goal, motion"):
        AntMazeConfig(egocentric=True, front="back")
    with pytest.raises(ValueError, match="and egocentric=false; set egocentric=true, or front=goal,"):
        AntMazeConfig(front="motion")


def test_only_goals_that_are_places_can_be_ahead():
    with pytest.raises(ValueError, match=r"goals=xy; got goals=full_state"):
        AntMazeConfig(egocentric=True, goals="full_state")
    assert getattr(AntMaze(AntMazeConfig(num_threads=1), 1, torch.device("cpu"), 0), "view", None) is None

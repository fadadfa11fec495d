# pyright: reportAttributeAccessIssue=false
import math

import mujoco
import pytest
import torch

from discover_envs.mujoco_maze.arm import HALF_CUBE, LIFT, ArmPush, ArmPushConfig
from discover_rl.build import make_environment
from discover_rl.prior import Prior
from discover_rl.train import train

CPU = torch.device("cpu")
CUBE, TIP = slice(0, 2), slice(19, 21)


def make(num_envs=6, seed=0, **changes):
    return ArmPush(ArmPushConfig(**{"num_threads": 1, **changes}), num_envs, CPU, seed)


def test_the_stick_starts_lowered_on_every_free_side_of_the_cube():
    arm = make(num_envs=200)
    observation = arm.reset()
    cube, stick = observation[:, CUBE], observation[:, 19:22]
    torch.testing.assert_close((stick[:, :2] - cube).norm(dim=1), torch.full((200,), 0.1))
    torch.testing.assert_close(stick[:, 2], torch.full((200,), 0.01))
    assert len((stick[:, :2] - cube).mul(10).round().unique(dim=0)) == 4
    assert (cube - torch.tensor([-0.3, 0.05])).abs().max() <= 0.025
    assert (observation[:, 2] - HALF_CUBE).abs().max() < 1e-3 and not observation[:, 10:19].any()


def test_the_stick_never_starts_in_a_wall(tmp_path):
    path = tmp_path / "table.txt"
    path.write_text("######\n#S##G#\n#....#\n######\n")  # free: only the side below
    observation = make(num_envs=50, layout=str(path), start_noise=0.0).reset()
    torch.testing.assert_close(
        (observation[:, TIP] - observation[:, CUBE]), torch.tensor([0.0, -0.1]).expand(50, 2), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("layout", ["one_wall", "two_walls", "large"])
def test_the_arm_comes_to_every_cell_and_knows_where_its_stick_is(layout):
    arm = make(layout=layout, num_envs=1, start_noise=0.1)
    model, data = arm.model, mujoco.MjData(arm.model)
    for place in arm._middles[arm._free]:
        joints = arm._linkage.joints(place)
        data.qpos[7:10] = joints.numpy()
        mujoco.mj_kinematics(model, data)
        low, high = model.jnt_range[1:].T
        assert (joints.double().numpy() >= low - 1e-6).all() and (joints.double().numpy() <= high + 1e-6).all()
        found = data.site("tip").xpos
        assert found[:2] == pytest.approx(place.tolist(), abs=1e-5)
        assert arm._linkage.tip(joints).tolist() == pytest.approx(found.tolist(), abs=1e-5)


def test_servos_turn_at_the_speed_that_is_asked_for_and_the_lift_holds():
    arm = make(num_envs=1)
    arm.reset()

    def after(steps, *action):
        return [arm.step(torch.tensor([action])).observation[0] for _ in range(steps)][-1]

    assert after(4, 0.0, 0.0, 1.0)[18] == pytest.approx(0.4, rel=0.05)
    assert after(10, 0.0, 0.0, 1.0)[21] == pytest.approx(0.01 + LIFT, abs=0.01)
    turning = after(4, 0.25, -0.25, 0.0)
    assert turning[16:18].tolist() == pytest.approx([0.3, -0.5], rel=0.1)
    standing = after(40, 0.0, 0.0, 0.0)
    assert standing[21] == pytest.approx(float(turning[21]), abs=2e-3) and standing[16:19].abs().max() < 1e-2


def test_random_actions_sometimes_move_the_cube():
    arm, generator = make(num_envs=32), torch.Generator().manual_seed(0)
    start = arm.reset()[:, CUBE].clone()
    steps = [arm.step(torch.rand(32, 3, generator=generator) * 2 - 1) for _ in range(150)]
    assert not any(step.truncated.any() for step in steps)
    moved = (steps[-1].observation[:, CUBE] - start).norm(dim=1)
    assert 0.2 < (moved > 0.1).float().mean() < 0.9


WAYS = {
    "one_wall": [(-0.15, -0.22), (0.15, -0.22), (0.3, 0.05)],
    "two_walls": [(-0.33, -0.2), (-0.1, -0.2), (0.1, 0.19), (0.33, 0.19), (0.4, -0.05)],
}


@pytest.mark.parametrize("layout", WAYS)
def test_a_scripted_arm_pushes_the_cube_round_the_walls(layout):
    arm = make(layout=layout, num_envs=16)
    observation, target = arm.reset(), arm.targets()
    ways, leg = torch.tensor(WAYS[layout]), torch.zeros(16, dtype=torch.long)
    reached = torch.zeros(16, dtype=torch.bool)
    for _ in range(250):
        cube = observation[:, CUBE]
        leg = (leg + ((ways[leg] - cube).norm(dim=1) < 0.05)).clamp_max(len(ways) - 1)
        step = arm.step(pushing(arm, observation, ways[leg]))
        observation = step.observation
        assert not step.truncated.any()
        reached |= arm.goal_space.success(arm.goal_space.achieved(observation), target)
    # between two walls the script loses a cube now and then; which one depends on how a processor rounds
    assert int((~reached).sum()) <= {"one_wall": 0, "two_walls": 4}[layout]


def pushing(arm, observation, goal):
    """Lift the stick, bring it behind the cube, lower it, and push; as speeds of the joints."""
    cube, stick, height = observation[:, CUBE], observation[:, TIP], observation[:, 21]
    along = torch.nn.functional.normalize(goal - cube, dim=1)
    offset = stick - cube
    ahead = (offset * along).sum(1)
    aside = (offset - ahead[:, None] * along).norm(dim=1)
    behind = cube - 0.085 * along
    pushes = (ahead < -0.04) & (aside < 0.025) & (height < 0.04)
    close = (stick - behind).norm(dim=1) < 0.02
    velocity = torch.where(pushes[:, None], 0.5 * along - 3 * (offset - ahead[:, None] * along), 6 * (behind - stick))
    high = height > 0.09
    velocity = torch.where((pushes | high | close)[:, None], velocity, 0.0)  # rise before going over the cube
    lift = torch.where(pushes | close, -1.0, 1.0)
    shoulder, elbow = observation[:, 7], observation[:, 8]
    link, both = arm._linkage.link, shoulder + elbow
    first = torch.stack([-shoulder.sin() - both.sin(), shoulder.cos() + both.cos()], 1)
    second = torch.stack([-both.sin(), both.cos()], 1)
    turn = torch.linalg.solve(link * torch.stack([first, second], 2), velocity)
    return torch.cat([turn / torch.tensor([1.2, 2.0]), lift[:, None]], 1).clamp(-1, 1)


def test_a_cube_on_a_wall_or_beyond_the_rim_is_cut():
    arm = make()
    state = arm._state.clone()
    state[0, :3] = torch.tensor([0.0, 0.3, 0.25])
    state[1, :3] = torch.tensor([1.0, 0.0, HALF_CUBE])
    arm._stepper.write(torch.ones(6, dtype=torch.bool), state[:, :10], state[:, 10:])
    assert arm.step(torch.zeros(6, 3)).truncated.tolist() == [True, True, False, False, False, False]
    assert arm.monitor()["rollout/escaped_worlds"].tolist() == [1, 1, 0, 0, 0, 0]


def test_goals_are_the_cubes_place():
    arm = make()
    torch.testing.assert_close(arm.targets(), torch.tensor([0.3, 0.05, HALF_CUBE]).expand(6, 3), atol=1e-3, rtol=0)
    assert arm.goal_space.describe(arm.targets()[0]).startswith("x of the cube [m]=0.3")
    goals = arm.targets() + torch.tensor([0.0, 0.1, 0.0])
    state = arm.state_at(goals)
    assert state.shape == (6, 22)
    torch.testing.assert_close(arm.goal_space.achieved(state), goals, atol=1e-3, rtol=0)
    steps = arm.distance_to_target(torch.tensor([[-0.3, 0.05, 0.04], [0.3, 0.05, 0.04], [0.0, 0.3, 0.04]]))
    assert steps[0] > 0.8 / 0.3 / 0.05 and steps[1] == 0 and steps[2] == math.inf


def test_what_is_known_of_a_point_in_the_same_maze_helps_the_arm(tiny, tmp_path):
    from discover_envs.mujoco_maze.point import PointMazeMujocoConfig

    train(tiny(2, env=PointMazeMujocoConfig(layout="one_wall", num_threads=1, max_episode_steps=8)), tmp_path)
    env = make_environment(ArmPushConfig(num_threads=1), 6, CPU, 0)
    prior = Prior(tmp_path, env, 2, CPU)
    goals = env.targets().unflatten(0, (2, 3))
    assert prior.relevance(goals, goals).mean.shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wall_height": 0.1}, "arm: wall_height must be at least 0.17 m, or the stick goes over the walls; got 0.1"),
        ({"cell_size": 0.05}, "arm: cell_size must be at least 0.1 m"),
        ({"goals": "xy"}, "allowed: xyz, full_state"),
    ],
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)

"""Each violation of the goal-space contract gets a sentence of its own."""

import pytest
import torch

from discover_rl.goals import check_goal_space, goal_space_problems

OBSERVATIONS = torch.arange(12.0).reshape(4, 3) / 10
TARGETS = torch.full((4, 1), 9.0)


class Good:
    dim = 1

    def achieved(self, observation):
        return observation[..., :1]

    def success(self, achieved, desired):
        return (achieved - desired).abs().amax(-1) < 0.1


def changed(**parts):
    return type("Changed", (Good,), parts)()


def write(self, observation):
    observation += 1
    return observation[..., :1].clone()


def test_a_good_one_of_a_dozen_lines_has_no_problem():
    assert list(goal_space_problems(Good(), OBSERVATIONS, TARGETS)) == []
    check_goal_space(Good(), OBSERVATIONS, TARGETS, "mine")


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        (object(), "object has no method achieved; a goal space needs dim, achieved and success"),
        (changed(dim="2"), "dim must be a positive whole number of coordinates, got '2'"),
        (changed(dim=2), "achieved(observation) must have shape (4, 2) for 4 rows, got (4, 1)"),
        (
            changed(achieved=lambda self, o: o[..., :1].double()),
            "achieved(observation) must be torch.float32, got torch.f",
        ),
        (changed(achieved=lambda self, o: o.numpy()[..., :1]), "must return a torch tensor, got ndarray"),
        (changed(achieved=lambda self, o: o[..., :1] / 0), "achieved(observation) holds numbers that are not finite"),
        (changed(achieved=lambda self, o: o[:, :1]), "must work on any leading axes"),
        (changed(achieved=lambda self, o: o[..., :1] - o.mean()), "gives other results one row at a time than for a b"),
        (changed(achieved=lambda self, o: 1 / 0), "failed on shape (4, 3): ZeroDivisionError: division by zero"),
        (changed(achieved=write), "writes into its arguments"),
        (
            changed(success=lambda self, a, d: ((a - d).abs() < 0.1).float()[..., 0]),
            "success(achieved, desired) must be to",
        ),
        (
            changed(success=lambda self, a, d: (a - d).abs() < 0.1),
            "success(achieved, desired) must have shape (4,) for",
        ),
        (changed(success=lambda self, a, d: (a - d).abs().amax(-1) > 0.1), "success(g, g) must be True"),
        (changed(distance=lambda self, a, d: a - d), "distance(achieved, desired) must have shape (4,)"),
        (changed(describe=lambda self, g: g), "describe(goal) must return a string, got Tensor"),
        (changed(describe=lambda self, g: g[7]), "describe(goal) failed: IndexError"),
    ],
    ids=range(16),
)
def test_each_violation_is_said(space, sentence):
    dim = space.dim if isinstance(getattr(space, "dim", None), int) else 1
    targets = TARGETS.expand(4, dim)
    problems = list(goal_space_problems(space, OBSERVATIONS.clone(), targets))
    assert len(problems) == 1
    assert sentence in problems[0]
    with pytest.raises(ValueError, match=r"^goal space of mine: "):
        check_goal_space(space, OBSERVATIONS.clone(), targets, "mine")


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (
            torch.zeros(4, 2),
            "targets() must be float32 of shape (4, 1), a goal for each environment, got torch.float32 of",
        ),
        (torch.zeros(4, 1, dtype=torch.int64), "got torch.int64"),
        (torch.full((4, 1), torch.nan), "targets() holds numbers that are not finite"),
    ],
)
def test_bad_targets_are_said(targets, sentence):
    (problem,) = goal_space_problems(Good(), OBSERVATIONS, targets)
    assert sentence in problem

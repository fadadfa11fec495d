"""Evaluation against results worked out by hand, and evaluating a saved run again."""

import shutil
from typing import ClassVar

import pytest
import torch

from discover_rl.agents import ZeroAgent
from discover_rl.evaluate import Evaluation, evaluate, evaluate_run
from discover_rl.run_folder import MODEL
from discover_rl.train import Trainer, train

NAN = float("nan")


def agent(runs):
    return ZeroAgent(runs, 1, torch.Generator())


def same(one, other):
    return all(torch.equal(a.nan_to_num(-99.0), b.nan_to_num(-99.0)) for a, b in zip(one, other, strict=True))


# the target is 1.0 with radius 0.1; two runs of three environments each, four steps
SCRIPT = [
    [[0.0, 0.5, 1.0, 1.05, 0.5]],  # within the goal at steps 2 and 3, not at the end
    [[0.0, 0.0, 0.0, 0.0, 1.0]],  # at the end only
    [[0.0, 0.2, 0.4, 0.6, 0.8]],  # never
    [[0.0, 0.5, "fail"], [0.0, 1.0, 1.0, 1.0, 1.0]],  # ended after one step; what follows does not count
    [[0.0, 0.5, 1.0, "cut"], [0.0, 0.0, 0.0]],  # ended within the goal
    [[1.0, 0.0, 0.0, 0.0, 0.0]],  # solved at the start only
]


def test_results_are_those_worked_out_by_hand(scripted):
    env = scripted(SCRIPT, 4)
    seen = evaluate(agent(2), env, 2)
    assert seen.success.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert seen.success_at_end.tolist() == pytest.approx([1 / 3, 1 / 3])
    assert seen.success_at_start.tolist() == pytest.approx([0, 1 / 3])
    assert seen.steps_to_goal.tolist() == pytest.approx([(2 + 4) / 2, 2])
    assert seen.episode_length.tolist() == pytest.approx([4, (1 + 2 + 4) / 3])
    assert seen.episode_reward.tolist() == pytest.approx([(2 + 1 + 0) / 3, 1 / 3])
    expected = [
        [[0.0, 0.5, 1.0, 1.05, 0.5], [0.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8]],
        [[0.0, 0.5, NAN, NAN, NAN], [0.0, 0.5, 1.0, NAN, NAN], [1.0, 0.0, 0.0, 0.0, 0.0]],
    ]
    torch.testing.assert_close(seen.achieved[..., 0], torch.tensor(expected), equal_nan=True)
    assert seen.metrics().keys() == {
        "eval/success_rate",
        "eval/success_rate_at_end",
        "eval/success_rate_at_start",
        "eval/steps_to_goal",
        "eval/mean_ep_length",
        "eval/mean_reward",
    }


def test_an_episode_ends_with_its_goal_where_the_environment_says_so(scripted):
    env = scripted([[[0.0, 1.0, 0.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]], 3, terminate_on_success=True)
    seen = evaluate(agent(1), env, 1)
    assert (seen.success.item(), seen.success_at_end.item()) == (0.5, 0.5)
    assert (seen.steps_to_goal.item(), seen.episode_length.item(), seen.episode_reward.item()) == (1, 2, 0.5)
    assert seen.achieved[0, 0, 2:].isnan().all()


def test_without_a_success_there_is_no_time_to_the_goal(scripted):
    seen = evaluate(agent(1), scripted([[[0.0, 0.1]]], 3), 1)
    assert (seen.success.item(), seen.episode_length.item()) == (0, 3)
    assert seen.steps_to_goal.isnan().all()


def test_what_was_simulated_in_vain_is_no_result(scripted, monkeypatch):
    def monitor():
        raise ValueError("lost contacts")

    env = scripted([[[0.0, 0.1]]], 3)
    monkeypatch.setattr(env, "monitor", monitor, raising=False)
    with pytest.raises(ValueError, match="lost contacts"):
        evaluate(agent(1), env, 1)


def test_the_agent_is_asked_for_its_deterministic_policy_on_the_target(scripted):
    class Watched(ZeroAgent):
        goals: ClassVar[list[torch.Tensor]] = []

        def act(self, observation, goal):
            self.goals.append(goal)
            return super().act(observation, goal)

        def explore(self, observation, goal, scale):
            raise AssertionError("evaluation must not explore")

    evaluate(Watched(2, 1, torch.Generator()), scripted(SCRIPT, 4), 2)
    assert len(Watched.goals) == 4
    assert all(goal.shape == (2, 3, 1) and goal.eq(1.0).all() for goal in Watched.goals)


# -- saved runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def trained(tiny, tmp_path, monkeypatch):
    """A trainer with its folder and the only evaluation of its training."""
    seen = []

    def watch(*arguments):
        seen.append(evaluate(*arguments))
        return seen[-1]

    monkeypatch.setattr("discover_rl.train.evaluate", watch)
    trainer = train(tiny(3, seed=5, eval_interval=100), tmp_path / "run")
    (evaluation,) = seen
    return trainer, tmp_path / "run", evaluation


def test_a_saved_run_is_evaluated_as_in_training_also_after_it_was_moved(trained, tmp_path, monkeypatch):
    _, run_dir, expected = trained
    seeds, seen = evaluate_run(run_dir, device="cpu", seed=5)
    assert seeds == [5, 6]
    assert same(seen, expected)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(run_dir, moved)
    monkeypatch.chdir(moved.parent)
    assert same(evaluate_run(moved, device="cpu", seed=5)[1], expected)
    assert not same(evaluate_run(moved, device="cpu", seed=6)[1], expected)


def test_the_number_of_episodes_can_be_chosen(trained):
    _, run_dir, _ = trained
    _, seen = evaluate_run(run_dir, eval_episodes=7, device="cpu")
    assert isinstance(seen, Evaluation)
    assert seen.achieved.shape == (2, 7, 9, 2)
    with pytest.raises(ValueError, match=r"^eval_episodes must be at least 1, got 0$"):
        evaluate_run(run_dir, eval_episodes=0, device="cpu")


def test_evaluation_draws_from_a_generator_of_its_own(tiny, held, differing):
    trainer = Trainer(tiny())
    trainer.train_round()
    before = held(trainer)
    evaluate(trainer.agent, trainer.eval_env, 2)
    assert differing(before, held(trainer)) == ["generator/eval_env"]


def test_what_cannot_be_evaluated_is_said(trained, tmp_path):
    _, run_dir, _ = trained
    with pytest.raises(ValueError, match=r"nowhere: there is no such folder; give the folder of a run"):
        evaluate_run(tmp_path / "nowhere", device="cpu")
    with pytest.raises(ValueError, match=r"is not the folder of a run: it has no config.yaml"):
        evaluate_run(tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"^device is 'abacus'; allowed: auto, cpu, cuda, cuda:N$"):
        evaluate_run(run_dir, device="abacus")
    (run_dir / MODEL).unlink()
    with pytest.raises(ValueError, match=r"model.safetensors: there is no such file"):
        evaluate_run(run_dir, device="cpu")

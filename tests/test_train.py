"""The loop: what a round does, early ends, mistakes that end it with a sentence, and a maze that it must solve."""

from dataclasses import replace

import pytest
import torch

from discover_envs.bit_flip import BitFlipConfig
from discover_envs.grid_world import GridWorldConfig
from discover_envs.point_maze import PointMazeConfig
from discover_rl.agents import AGENT_CONFIGS, DQNConfig, RandomConfig, TD3Config, ZeroAgent, ZeroConfig
from discover_rl.config import HindsightConfig
from discover_rl.report import read_metrics
from discover_rl.rounds import batches_per_update, exploration_scale, give_up_steps, mean_where
from discover_rl.run_folder import CHECKPOINT, METRICS
from discover_rl.selectors import HER, SELECTORS, Candidates, Choice, Discover, Oracle, Random
from discover_rl.train import Trainer, train


def rows_of_last_round(trainer):
    """Named fields of the last round, each (run, time, env, width)."""
    names = ("observation", "action", "following", "goal", "terminated", "to_end")
    return dict(zip(names, trainer.layout.split(trainer.round.block), strict=True))


def finite(trainer):
    tensors = {**trainer.agent.parameters(), **trainer.agent.state()}
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


# -- what a round does ---------------------------------------------------------------------------------------


def test_steps_updates_and_rows_are_counted(tiny, tmp_path):
    trainer = train(tiny(6, gradient_steps=6, learning_starts=50, log_interval=2, eval_interval=3), tmp_path)
    assert (trainer.rounds, trainer.num_timesteps) == (6, 6 * 48)
    # 50 steps are not there before the third round
    assert trainer.agent.state()["adam/critics/step"].item() == 4 * 6
    assert trainer.agent.state()["adam/actor/step"].item() == 4 * 6 / 2
    assert (trainer.buffer.size.item(), trainer.buffer.rounds_added) == (4 * 48, 6)
    metrics = read_metrics(tmp_path / METRICS)
    assert metrics["time/total_timesteps"].tolist() == [step for step in (96, 144, 192, 288) for _ in range(2)]
    assert metrics["seed"].tolist() == [0, 1] * 4
    assert metrics["train/n_updates"].tolist() == [0, 0, 6, 6, 12, 12, 24, 24]
    evaluated = ~torch.from_numpy(metrics["eval/success_rate"]).isnan()
    assert evaluated.tolist() == [False, False, True, True, False, False, True, True]


@pytest.mark.parametrize(("intervals", "expected"), [((5, 2), [2, 4, 5, 6, 7]), ((3, 100), [3, 6, 7])])
def test_an_evaluation_does_not_wait_for_the_log(tiny, tmp_path, intervals, expected):
    log, evaluate = intervals
    train(tiny(7, log_interval=log, eval_interval=evaluate, seeds=1), tmp_path)
    metrics = read_metrics(tmp_path / METRICS)
    assert metrics["time/total_timesteps"].tolist() == [48 * round_ for round_ in expected]


def test_the_budget_is_rounded_up_to_whole_rounds(tiny, tmp_path):
    assert train(tiny(num_timesteps=49.0), tmp_path).rounds == 2


@pytest.mark.parametrize("after_goal", ["random", "policy"])
def test_rows_follow_one_another_and_goals_change_at_the_start_of_a_round_only(tiny, after_goal):
    trainer = Trainer(tiny(after_goal=after_goal))
    goals = []
    for _ in range(3):
        trainer.train_round()
        rows = rows_of_last_round(trainer)
        assert rows["observation"][:, 1:].equal(rows["following"][:, :-1])
        assert rows["goal"].equal(rows["goal"][:, :1].expand_as(rows["goal"]))
        assert rows["goal"][:, 0].equal(trainer.round.goals)
        assert rows["to_end"][..., 0].equal(torch.arange(7.0, -1, -1)[None, :, None].expand(2, 8, 6))
        assert not rows["terminated"].any()
        assert (rows["action"].abs() <= 1).all()
        moved = rows["observation"] + 0.5 * rows["action"]
        assert torch.isclose(moved, rows["following"]).all(-1).float().mean() > 0.9  # the rest met a wall
        goals.append(trainer.round.goals.clone())
        stored = trainer.buffer.filled()[:, -48:].unflatten(1, (8, 6))
        assert stored.equal(trainer.round.block)
    assert not goals[1].equal(goals[2])


def test_with_an_empty_buffer_every_episode_goes_to_its_target(tiny):
    # a radius so small that the zeros of an empty buffer are not taken for solved at the start
    env = PointMazeConfig(layout="open", max_episode_steps=8, success_radius=0.01)
    for selector in (SELECTORS["discover"](target_share=0.0), SELECTORS["mega"](), Random()):
        trainer = Trainer(tiny(selector=selector, env=env))
        trainer.train_round()
        assert trainer.round.use_target.all()
        assert trainer.round.goals.equal(trainer.round.targets)
        trainer.train_round()
        assert not trainer.round.use_target.any()


def test_goals_that_the_start_has_solved_are_no_candidates(tiny):
    trainer = Trainer(tiny(num_candidates=200))
    for _ in range(2):
        trainer.train_round()
    trainer._choose_goals()
    candidates = trainer.candidates()
    starts = trainer.round.observation[:, torch.arange(200) % 6]
    near = (starts - candidates.goals).norm(dim=-1) <= 0.5
    assert near.any()
    assert candidates.valid.equal(~near)
    assert candidates.start is not None
    chosen = trainer.round.goals[~trainer.round.use_target]
    own_start = trainer.round.observation[~trainer.round.use_target]
    assert ((chosen - own_start).norm(dim=-1) > 0.3).all()


def test_candidates_are_visited_states_scored_from_the_start_of_their_episode(tiny):
    trainer = Trainer(tiny())
    trainer.train_round()
    trainer._choose_goals()
    candidates = trainer.candidates()
    visited = trainer.layout.split(trainer.buffer.filled())[2]
    for run in range(2):
        assert (candidates.goals[run][:, None] == visited[run]).all(-1).any(1).all()
    starts = trainer.round.observation[:, torch.arange(25) % 6]
    assert candidates.start is not None
    assert candidates.target is not None
    assert candidates.start.mean.equal(trainer.agent.values(starts, candidates.goals).mean)
    own = trainer.agent.values(candidates.goals, trainer.round.targets[:, torch.arange(25) % 6])
    assert candidates.target.mean.equal(own.mean)  # an observation of the maze is its own goal


def test_learning_starts_means_uniform_actions_and_no_updates_until_then(tiny, held):
    trainer = Trainer(tiny(learning_starts=2 * 48, selector=HER()))
    before = held(trainer)["critics"]
    for round_ in range(3):
        trainer.train_round()
        actions = rows_of_last_round(trainer)["action"]
        uniform = actions.abs().flatten().sort().values
        error = (uniform - torch.linspace(0, 1, len(uniform))).abs().max()
        assert (error < 0.12) == (round_ < 2)  # the untrained policy plus noise is no uniform draw
        assert held(trainer)["critics"].equal(before) == (round_ < 2)


# -- learning beside the rollout -----------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [0, 48, 50])
def test_beside_the_rollout_the_same_updates_are_made_from_what_was_stored_before(tiny, tmp_path, starts):
    trainer = Trainer(tiny(6, learning_starts=starts, learn_beside_rollout=True))
    learn, stored = trainer.learn, []

    def watched():
        stored.append((trainer.rounds, trainer.buffer.rounds_added))
        learn()

    trainer.learn = watched
    trainer.run(tmp_path, resume=False)
    # round 0 finds nothing to learn from; 50 steps are not there before the third
    first = {0: 1, 48: 1, 50: 2}[starts]
    assert stored == [(round_, round_) for round_ in range(first, 6)]
    assert trainer.agent.state()["adam/critics/step"].item() == 4 * (6 - first)
    updates = [4 * max(0, round_ - first) for round_ in range(1, 7)]
    assert read_metrics(tmp_path / METRICS)["train/n_updates"].tolist() == [n for n in updates for _ in range(2)]
    assert trainer.buffer.rounds_added == 6


@pytest.mark.parametrize("selector", [HER(), Discover()], ids=lambda selector: selector.name)
def test_beside_the_rollout_episodes_follow_the_policy_from_before_the_round(tiny, held, selector):
    beside, after = (Trainer(tiny(selector=selector, learn_beside_rollout=option)) for option in (True, False))
    start, rows = held(beside)["actor"], []
    for _ in range(3):
        for trainer in (beside, after):
            trainer.train_round()
        rows.append([trainer.round.block.clone() for trainer in (beside, after)])
    assert not held(beside)["actor"].equal(start)
    # the first two rounds act before anything is learned, though one of them learns in the second before it acts
    assert rows[0][0].equal(rows[0][1])
    assert rows[1][0].equal(rows[1][1])
    assert not rows[2][0].equal(rows[2][1])  # what was learned from differs


def test_beside_the_rollout_batches_are_relabelled_with_the_targets_of_its_start(tiny, walk, monkeypatch):
    settings = {"env": walk(fail=0.3), "target": {"low": [0.5], "high": [0.9]}, "learning_starts": 0}
    trainer = Trainer(
        tiny(hindsight=HindsightConfig(future=0.0, target=1.0, random=0.0), learn_beside_rollout=True, **settings)
    )
    roll_out, starts = trainer.roll_out, []

    def watched():
        starts.append(trainer.round.targets.clone())
        roll_out()

    monkeypatch.setattr(trainer, "roll_out", watched)
    trainer.train_round()
    trainer.train_round()
    assert not trainer.round.targets.equal(starts[1])  # episodes failed, others began
    goals = trainer.sample().goal.flatten(1).unsqueeze(-1)
    for run in range(2):
        assert torch.isin(goals[run], starts[1][run]).all()


@pytest.mark.parametrize("kind", ["td3", "dqn"])
def test_learning_and_the_rollout_beside_it_share_nothing(tiny, held, differing, monkeypatch, walk, kind):
    changes = {"hindsight": HindsightConfig(0.5, 0.3, 0.1), "learn_beside_rollout": True}
    if kind == "td3":
        changes |= {"env": walk(fail=0.3), "target": {"low": [0.5], "high": [0.9]}}
    else:
        agent = DQNConfig(hidden_sizes=[16, 16], learning_rate=0.03)  # so fast that actions change
        changes |= {"env": BitFlipConfig(num_bits=4, max_episode_steps=4), "agent": agent}

    def trained_with(run_beside):
        monkeypatch.setattr("discover_rl.algorithm.run_beside", run_beside)
        trainer = Trainer(tiny(**changes))
        for _ in range(4):
            trainer.train_round()
        assert trainer.agent.state()["adam/critics/step"].item() == 4 * 3
        return held(trainer)

    def before(learn, roll_out, stream):
        learn()
        roll_out()

    def after(learn, roll_out, stream):
        roll_out()
        learn()

    def within(learn, roll_out, stream):
        env = roll_out.env
        step, actions = env.step, []

        def stepped(action):
            actions.append(action)
            if len(actions) == 2:
                learn()
            return step(action)

        with monkeypatch.context() as patch:
            patch.setattr(env, "step", stepped)
            roll_out()

    one, other, third = (trained_with(order) for order in (before, after, within))
    assert differing(one, other) == []
    assert differing(one, third) == []


def test_alpha_waits_for_learning_to_begin(tiny):
    trainer = Trainer(
        tiny(learning_starts=2 * 48, selector=Discover(alpha_start=0.3, alpha_max=1.0, target_rate=1.0, band=0.0))
    )
    alphas = []
    for _ in range(3):
        trainer.train_round()
        alphas.append(trainer.selector_state.alpha.clone())
    assert alphas[1].eq(0.3).all()  # nothing moved while actions were random
    assert alphas[2].gt(0.3).all()  # of goals chosen blindly some are always missed


def test_learning_starts_beyond_the_buffer_is_refused(tiny):
    with pytest.raises(ValueError, match=r"learning_starts=1000 is more than the replay buffer ever holds \(192"):
        Trainer(tiny(learning_starts=1000))


def test_gradient_steps_must_fit_the_policy_delay(tiny):
    with pytest.raises(ValueError, match=r"gradient_steps=5 must be a multiple of agent.policy_delay=2"):
        Trainer(tiny(gradient_steps=5))


@pytest.mark.parametrize(
    ("gradient_steps", "multiple", "expected"),
    [
        (800, 2, 32),
        (150, 2, 30),
        (4, 2, 4),  # a whole round
        (66, 2, 22),
        (68, 2, 4),  # 34 is more than 32
        (30, 3, 30),
        (800, 1, 32),
        (97, 1, 1),  # primes
        (31, 1, 31),
        (2 * 37, 2, 2),
        (35, 35, 35),  # more than 32 only where it has to be
        (70, 35, 35),
        (0, 2, 32),  # no updates, whatever their size
        (0, 35, 35),
    ],
)
def test_as_many_batches_are_drawn_at_once_as_divide_the_gradient_steps(gradient_steps, multiple, expected):
    assert batches_per_update(gradient_steps, multiple) == expected


@pytest.mark.parametrize("multiple", [1, 2, 3, 5])
def test_the_batches_drawn_at_once_always_fit(multiple):
    for gradient_steps in range(0, 400 * multiple, multiple):
        count = batches_per_update(gradient_steps, multiple)
        assert 1 <= count <= 32
        assert count % multiple == 0
        assert gradient_steps % count == 0
        larger = range(count + multiple, 33, multiple)
        assert not [number for number in larger if gradient_steps % number == 0]


@pytest.mark.parametrize(("gradient_steps", "count", "calls"), [(4, 4, 1), (68, 4, 17), (0, 32, 0)])
def test_one_draw_serves_several_updates(tiny, monkeypatch, gradient_steps, count, calls):
    trainer = Trainer(tiny(gradient_steps=gradient_steps))
    trainer.train_round()
    given = []
    monkeypatch.setattr(trainer.agent, "update", given.append)
    trainer.train_round()
    assert len(given) == calls
    for batches in given:
        assert batches.reward.shape == (2, count, 16)
        assert batches.observation.shape == (2, count, 16, 2)
        # every batch is its own draw
        assert len({tuple(batch) for batch in batches.observation.flatten(2).flatten(0, 1).tolist()}) == 2 * count


@pytest.mark.parametrize("n_steps", [1, 3])
def test_transitions_span_as_many_steps_as_the_agent_asks_for(tiny, n_steps):
    trainer = Trainer(tiny(agent=replace(tiny().agent, n_steps=n_steps)))
    trainer.train_round()
    assert trainer.sample().steps.max() == n_steps


def test_exploration_scale_spreads_evenly_and_spares_a_share_of_the_target_episodes():
    use_target = torch.zeros(2, 100, dtype=torch.bool)
    use_target[1] = True
    scale = exploration_scale(use_target, 0.5, 0.25)
    assert scale[0].min() >= 0.5
    assert scale[0].max() <= 1.5
    assert scale[0].sort().values.diff().max() < 0.03
    for stretch in scale[0].split(20):
        assert (stretch.min() < 0.6) & (stretch.max() > 1.4)
    assert (scale[1] == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert scale[1][scale[1] > 0].min() >= 0.5
    assert exploration_scale(use_target, 0.0, 0.0).eq(1).all()


def test_greedy_episodes_act_without_noise(tiny):
    trainer = Trainer(tiny(selector=HER(), learning_starts=0, greedy_share=0.5, num_envs=20))
    trainer._choose_goals()
    trainer.roll_out()
    rows = rows_of_last_round(trainer)
    plain = trainer.agent.act(rows["observation"].flatten(1, 2), rows["goal"].flatten(1, 2)).unflatten(1, (8, 20))
    greedy = torch.isclose(rows["action"], plain, atol=1e-6).all(-1).all(1)
    assert ((greedy.sum(1) - 10).abs() <= 1).all()


def test_the_selectors_own_goals_count_or_all_where_it_has_none():
    reached = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    use_target = torch.tensor([[False, True, True, False], [True, True, True, True]])
    uncounted = torch.tensor([[True, False, False, False], [True, True, False, False]])
    choice = Choice(torch.zeros(2, 4, dtype=torch.long), use_target)
    assert mean_where(reached, choice.counted()).tolist() == [0.5, 0.25]
    choice = Choice(torch.zeros(2, 4, dtype=torch.long), use_target, uncounted)
    assert mean_where(reached, choice.counted()).tolist() == [0.0, 0.25]


# -- early ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_goal", ["random", "policy", "target", "next", "explore"])
@pytest.mark.parametrize(
    "ends", [{"fail": 0.15, "cut": 0.15}, {"terminate_on_success": True}, {"fail": 0.1, "terminate_on_success": True}]
)
def test_rows_never_connect_two_episodes(tiny, walk, after_goal, ends):
    trainer = Trainer(tiny(env=walk(**ends), after_goal=after_goal, selector=Random(), buffer_size=1000, num_envs=20))
    ended_early, terminated = 0, 0
    for _ in range(4):
        trainer.train_round()
        rows = rows_of_last_round(trainer)
        place, env, episode, step = rows["observation"].unbind(-1)
        next_place, next_env, next_episode, next_step = rows["following"].unbind(-1)
        assert next_env.equal(env)
        assert next_episode.equal(episode)  # the following state is the final one, not the start of the next episode
        assert torch.isclose(next_step, step + 0.1).all()
        last = rows["to_end"][..., 0] == 0
        assert last[:, -1].all()
        starts = torch.cat([torch.ones_like(last[:, :1]), last[:, :-1]], dim=1)
        assert (step == 0).equal(starts)  # after a last row comes a fresh start, and only then
        assert (place[starts].abs() <= 0.1).all()
        same = ~last[:, :-1]
        assert rows["observation"][:, 1:][same].equal(rows["following"][:, :-1][same])
        assert rows["to_end"][:, :-1][same].equal(rows["to_end"][:, 1:][same] + 1)
        ended_early += int(last[:, :-1].sum())
        reached = (next_place - rows["goal"][..., 0]).abs() <= 0.1
        if trainer.env.terminate_on_success:
            assert last[reached].all()
        if not ends.get("fail"):
            assert not rows["terminated"].any()  # reaching the goal is recomputed when rows are relabelled
        assert last[rows["terminated"][..., 0] == 1].all()
        terminated += int(rows["terminated"].sum())
        if after_goal not in ("target", "next", "explore"):
            assert rows["goal"].equal(rows["goal"][:, :1].expand_as(rows["goal"]))
        assert rows["goal"][starts].equal(trainer.round.goals[:, None].expand_as(rows["goal"])[starts])
        trainer.log_row()
    assert ended_early > 20
    assert (terminated > 10) == bool(ends.get("fail"))
    assert finite(trainer)


def test_what_follows_a_reached_goal(tiny, walk):
    """With a policy of zeros, that moves only where the loop says so."""
    target = torch.tensor(0.9)
    for after_goal in ("random", "policy", "target", "next"):
        config = tiny(
            env=walk(), after_goal=after_goal, agent=ZeroConfig(), selector=HER(), learning_starts=0, patience=1.0
        )
        trainer = Trainer(config)
        trainer._choose_goals()
        trainer.round.goals.copy_(trainer.round.observation[..., :1])  # solved by the first step
        trainer.round.use_target[:, :3] = True
        trainer.round.use_target[:, 3:] = False
        trainer.roll_out()
        rows = rows_of_last_round(trainer)
        moved = rows["action"][..., 0] != 0
        assert not moved[:, 0].any()
        if after_goal == "random":
            assert moved[:, 1:, 3:].all()
            assert not moved[..., :3].any()
        else:
            assert not moved.any()
        if after_goal == "target":
            assert rows["goal"][:, 1:].eq(target).all()
        elif after_goal == "next":
            goals = trainer.round.goals
            assert rows["goal"][:, 0].equal(goals)
            assert rows["goal"][:, 1, 3:].equal(goals[:, 2:-1])
            assert rows["goal"][:, :, :3].equal(goals[:, None, :3].expand_as(rows["goal"][:, :, :3]))
        else:
            assert rows["goal"].equal(trainer.round.goals[:, None].expand_as(rows["goal"]))
        assert trainer.round.reached.all()


def exploring(tiny, walk, **changes):
    """A trainer with the policy of zeros, whose buffer says that episodes elsewhere come 0.3 and 0.7 far."""
    settings = {"num_envs": 50, "num_candidates": 50, "agent": ZeroConfig(), "selector": HER(), "patience": 1.0}
    trainer = Trainer(tiny(env=walk(max_episode_steps=40), after_goal="explore", **(settings | changes)))
    trainer.config.learning_starts = 0
    trainer._choose_goals()
    trainer.round.strides[:, ::2], trainer.round.strides[:, 1::2] = 0.3, 0.7
    trainer.round.targets.fill_(40.0)
    trainer.round.use_target[:] = False
    trainer.round.use_target[:, :5] = True
    return trainer


def test_an_episode_explores_in_all_directions_once_it_has_come_to_its_goal(tiny, walk):
    trainer = exploring(tiny, walk)
    state = trainer.round
    state.goals.copy_(state.observation[..., :1])  # where it stands
    trainer.roll_out()
    rows = rows_of_last_round(trainer)
    assert not rows["action"].any()  # the policy acts on
    assert state.reached.all()
    goal, chosen = rows["goal"][..., 0], state.goals[..., 0]
    assert goal[:, 0].equal(chosen)
    assert goal[:, :, :5].equal(chosen[:, None, :5].expand(-1, 40, -1))  # commanded to the target: stays there
    goal = goal[:, 1:, 5:]
    far = (goal - chosen[:, None, 5:]).masked_fill(goal == 40, torch.nan)
    shares = [float(far.isclose(torch.tensor(value), atol=1e-5).float().mean()) for value in (0.3, -0.3, 0.7, -0.7)]
    shares.append(float(far.isnan().float().mean()))
    assert sum(shares) == pytest.approx(1)
    assert shares == pytest.approx([0.1875] * 4 + [0.25], abs=0.06)
    # each place for a tenth of the time
    changes = (goal[:, 1:] != goal[:, :-1]).any(2).any(0)
    assert changes.nonzero()[:, 0].tolist() == list(range(2, 38, 4))


@pytest.mark.parametrize("env", [BitFlipConfig(num_bits=4, max_episode_steps=4), GridWorldConfig(max_episode_steps=8)])
def test_goals_that_cannot_be_added_are_not_explored_from(tiny, env):
    said = "after_goal=explore adds goals .* those of DiscreteGoals cannot be added; .*: random, policy, target, next"
    with pytest.raises(ValueError, match=said):
        Trainer(tiny(env=env, agent=DQNConfig(hidden_sizes=[4]), after_goal="explore"))


def test_an_episode_out_of_patience_explores(tiny, walk):
    trainer = exploring(tiny, walk, patience=0.05)
    trainer.round.goals.fill_(-50.0)
    trainer.round.strides.zero_()  # places where it stands
    trainer.roll_out()
    assert not trainer.round.reached.any()  # what it reaches while it explores is not its goal
    explores = rows_of_last_round(trainer)["goal"][..., 0] != -50
    gives_up = give_up_steps(50, 40, 0.05, trainer.device)
    gives_up[:5] = 40  # those commanded to the target do not
    assert explores.equal((torch.arange(40)[:, None] >= gives_up).expand_as(explores))


def test_episodes_explore_as_far_as_episodes_of_the_buffer_have_come(tiny, walk):
    settings = {"num_envs": 30, "num_candidates": 30, "learning_starts": 1200}
    trainer = Trainer(tiny(env=walk(cut=0.1, max_episode_steps=40), after_goal="explore", **settings))
    assert not trainer.strides().any()  # an empty buffer
    trainer.train_round()  # of random actions, which nobody explores instead of
    rows = rows_of_last_round(trainer)
    assert rows["goal"].equal(trainer.round.goals[:, None].expand_as(rows["goal"]))
    place, following, left = rows["observation"][..., 0], rows["following"][..., 0], rows["to_end"][..., 0].long()
    last = torch.arange(40)[:, None] + left.clamp_max(3)
    possible = (following.gather(1, last) - place).flatten(1)
    found = trainer.strides()[..., 0]
    assert found.unique().numel() > 20
    near = (found[:, :, None] - possible[:, None]).abs().min(2).values
    assert near.max() < 1e-6


def test_an_episode_out_of_patience_acts_at_random_unless_its_goal_is_its_target(tiny, walk):
    config = tiny(env=walk(), num_envs=20, patience=0.5, agent=ZeroConfig(), selector=HER(), learning_starts=0, seeds=1)
    trainer = Trainer(config)
    trainer._choose_goals()
    trainer.round.goals.fill_(-50.0)  # never reached
    trainer.round.use_target[:] = False
    trainer.round.use_target[:, :5] = True
    trainer.roll_out()
    moved = rows_of_last_round(trainer)["action"][0, ..., 0] != 0
    steps = trainer.num_steps
    assert not moved[:, :5].any()
    expected = torch.arange(steps)[:, None] >= give_up_steps(20, steps, 0.5, trainer.device)
    assert moved[:, 5:].equal(expected[:, 5:])
    assert not moved[: steps // 2].any()
    assert moved[-1].any()


def test_patience_begins_anew_with_an_episode_in_the_middle_of_a_round(tiny, walk):
    trainer = Trainer(
        tiny(env=walk(cut=0.5, max_episode_steps=40), num_envs=20, patience=0.1, agent=ZeroConfig(), selector=HER())
    )
    trainer.config.learning_starts = 0
    trainer._choose_goals()
    trainer.round.goals.fill_(-50.0)
    trainer.round.use_target[:] = False
    trainer.roll_out()
    rows = rows_of_last_round(trainer)
    age = (rows["observation"][..., 3] * 10).round()
    assert (age[:, 20:] == 0).any()
    patient = age < give_up_steps(20, 40, 0.1, trainer.device)
    assert not rows["action"][..., 0][patient].any()
    assert rows["action"][..., 0][~patient].ne(0).all()


def test_the_steps_at_which_episodes_give_up_fill_the_range_evenly():
    steps = give_up_steps(50, 200, 0.4, torch.device("cpu")).sort().values
    assert 80 <= steps[0] < 85
    assert 195 < steps[-1] <= 200
    assert steps.diff().max() < 5
    assert give_up_steps(4, 100, 1.0, torch.device("cpu")).eq(100).all()


def test_a_run_learns_at_a_slower_pace_once_its_target_is_mastered(tiny):
    trainer = Trainer(tiny(selector=HER()))
    trainer.round.commanded_success.copy_(torch.tensor([0.0, 1.0]))
    for _ in range(60):
        trainer.adapt()
    rates = trainer.agent.networks.learning_rates  # type: ignore[attr-defined]
    config = trainer.config.agent
    assert rates.tolist() == pytest.approx([config.learning_rate, config.mastered_learning_rate], rel=1e-4)
    trainer.round.commanded_success.zero_()
    trainer.adapt()
    assert rates[1] > 2 * config.mastered_learning_rate  # it may forget, and then learns at pace again


def test_a_round_counts_for_the_selector_what_its_choice_says(tiny):
    shares = {"novelty_share": 0.34, "target_share": 0.34, "mastered_share": 0.34}  # two of six each
    trainer = Trainer(tiny(selector=SELECTORS["discover"](**shares)))
    trainer.train_round()
    trainer.selector_state.mastery.zero_()
    trainer.choose_goals()
    assert trainer.round.use_target.tolist() == [[False] * 4 + [True] * 2] * 2
    assert trainer.round.counted.tolist() == [[False, False, True, True, False, False]] * 2


@pytest.mark.parametrize("ends", [{"fail": 0.1, "cut": 0.1}, {"terminate_on_success": True}], ids=str)
def test_training_with_early_ends_runs_to_its_end(tiny, walk, tmp_path, ends):
    trainer = train(tiny(5, env=walk(**ends)), tmp_path)
    assert finite(trainer)
    metrics = read_metrics(tmp_path / METRICS)
    for tag in ("train/critic_loss", "train/q_mean", "goal/achievability"):
        assert torch.from_numpy(metrics[tag]).isfinite().all()
    assert (metrics["train/q_mean"] <= 1.0).all()


# -- every selector and agent --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SELECTORS)
def test_every_selector_trains(tiny, name):
    trainer = Trainer(tiny(selector=SELECTORS[name]()))
    for _ in range(3):
        trainer.train_round()
        trainer.log_row()
    assert finite(trainer)
    own = ~trainer.round.use_target
    assert own.any() == (name != "her")


@pytest.mark.parametrize("name", AGENT_CONFIGS)
def test_every_agent_trains_and_is_saved(tiny, tmp_path, name):
    agent = AGENT_CONFIGS[name]() if name != "td3" else TD3Config(hidden_sizes=[8], num_critics=3)
    changes = {"env": BitFlipConfig(max_episode_steps=8)} if name == "dqn" else {}  # for discrete actions
    trainer = train(tiny(2, agent=agent, **changes), tmp_path)
    assert train(tiny(3, agent=agent, **changes), tmp_path, resume=True).rounds == 3
    assert trainer.rounds == 2


@pytest.mark.parametrize("agent", [ZeroConfig(), RandomConfig()], ids=lambda a: a.name)
def test_an_agent_that_learns_nothing_never_solves_the_u(tiny, tmp_path, agent):
    env = PointMazeConfig(layout="u", max_episode_steps=60)
    config = tiny(3, env=env, agent=agent, num_envs=16, eval_episodes=16, eval_interval=1, gradient_steps=0, seeds=1)
    config.patience = 1.0  # random actions after giving up may come across a goal
    train(config, tmp_path)
    metrics = read_metrics(tmp_path / METRICS)
    assert (metrics["eval/success_rate"] == 0).all()
    assert (metrics["rollout/success_rate"] == 0).all()
    if agent.name == "zero":
        assert (metrics["goal/selected_success_rate"] == 0).all()


def test_the_oracle_needs_a_distance(tiny, walk):
    with pytest.raises(ValueError, match=r"selector=oracle needs an environment with distance_to_target\(goal\)"):
        Trainer(tiny(env=walk(), selector=Oracle())).train_round()


def test_the_oracle_takes_goals_near_the_target(tiny):
    trainer = Trainer(tiny(selector=Oracle(pick="top"), num_candidates=100))
    for _ in range(2):
        trainer.train_round()
    offered: list[Candidates] = []
    draw = trainer.candidates
    trainer.candidates = lambda: offered.append(draw()) or offered[0]
    trainer._choose_goals()
    assert offered[0].distance is not None
    chosen = trainer.env.distance_to_target(trainer.round.goals)  # type: ignore[attr-defined]
    nearest = offered[0].distance.masked_fill(~offered[0].valid, torch.inf).sort(1).values
    assert (nearest[:, 0] < nearest[:, 50]).all()
    assert chosen.sort(1).values.equal(nearest[:, :6])


# -- mistakes ------------------------------------------------------------------------------------------------


class NanAgent(ZeroAgent):
    def act(self, observation, goal):
        return super().act(observation, goal) * torch.nan


def test_nan_actions_end_training_with_a_sentence(tiny, tmp_path):
    trainer = Trainer(tiny(2, agent=ZeroConfig(), learning_starts=0))
    trainer.agent = trainer.roll_out.agent = NanAgent(2, 2, trainer.generators["explore"])
    with pytest.raises(FloatingPointError, match=r"^12 environments were given actions that are not numbers"):
        trainer.run(tmp_path, False)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.parametrize("run", [0, 1])
def test_a_loss_that_is_not_finite_names_its_seed(tiny, tmp_path, run):
    trainer = Trainer(tiny(2, seed=7, learning_starts=0))
    trainer.agent.parameters()["critics"].data[run] = torch.nan
    with pytest.raises(FloatingPointError, match=rf"is not finite in the run of seed {7 + run} after 48 steps; lower"):
        trainer.run(tmp_path, False)
    assert not (tmp_path / CHECKPOINT).exists()


def test_networks_that_are_not_finite_are_never_saved_over_good_ones(tiny, tmp_path):
    """Also where saving comes more often than logging."""
    config = tiny(9, log_interval=9, eval_interval=9, save_interval=1)
    trainer = train(tiny(2, log_interval=9, eval_interval=9, save_interval=1), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    trainer = Trainer(config)
    restore = trainer.restore

    def restore_and_spoil(path):
        restore(path)
        trainer.agent.parameters()["actor"].data[1] = torch.inf

    trainer.restore = restore_and_spoil
    with pytest.raises(FloatingPointError, match=r"actor is not finite in the run of seed 1 after 144 steps"):
        trainer.run(tmp_path, True)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


# -- it learns -----------------------------------------------------------------------------------------------

ROOM = """
#######
#....G#
#.....#
#..S..#
#.....#
#.....#
#######
""".strip()


def test_a_small_maze_is_solved_and_training_stops_early(tiny, tmp_path):
    layout = tmp_path / "room.txt"
    layout.write_text(ROOM)
    config = tiny(
        60,
        env=PointMazeConfig(layout=str(layout), max_episode_steps=15),
        agent=TD3Config(hidden_sizes=[32, 32], num_critics=3, actor_critics=2, learning_rate=3e-3, gamma=0.9, tau=0.02),
        seeds=1,
        num_envs=8,
        gradient_steps=40,
        batch_size=64,
        num_candidates=100,
        buffer_size=10_000,
        learning_starts=240,
        log_interval=3,
        eval_interval=3,
        eval_episodes=20,
        stop_success=0.9,
    )
    trainer = train(config, tmp_path / "run")
    success = read_metrics(tmp_path / "run" / METRICS)["eval/success_rate"]
    assert trainer.solved
    assert trainer.rounds < 60
    evaluated = success[success == success]
    assert (evaluated[-3:] >= 0.9).all()
    assert evaluated[0] < 0.9
    assert (tmp_path / "run" / CHECKPOINT).is_file()


def test_tensorboard_shows_curves_and_the_picture_while_it_trains(tiny_settings, monkeypatch, tmp_path):
    """What stands in the log in the middle of a training is what a person sees then."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr("discover_rl.train.PICTURE_SECONDS", 0.0)
    train_round, seen = Trainer.train_round, {}

    def looked_at(self):
        if self.rounds == 3:
            events = EventAccumulator(str(tmp_path / "tensorboard" / "seed_0"))
            events.Reload()
            seen["images"] = [image.step for image in events.Images("goal/curriculum")]
            seen["alpha"] = [scalar.step for scalar in events.Scalars("goal/alpha")]
            seen["success"] = [scalar.step for scalar in events.Scalars("eval/success_rate")]
            seen["file"] = (tmp_path / "curriculum.png").is_file()
        train_round(self)

    monkeypatch.setattr(Trainer, "train_round", looked_at)
    train(tiny_settings(4, seeds=1), tmp_path)
    assert seen == {"images": [96, 144], "alpha": [48, 96, 144], "success": [96], "file": True}


def test_a_picture_is_titled_as_a_table_names_its_line(tiny_settings, monkeypatch, tmp_path):
    titles = []
    monkeypatch.setattr("discover_rl.train.save_pictures", lambda *given: titles.append(given[5]) or {})
    train(tiny_settings(1), tmp_path)
    assert titles == ["discover on open"]

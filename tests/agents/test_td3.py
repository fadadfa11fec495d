import math

import pytest
import torch
from torch.nn.functional import softplus

from discover_rl.agents import TD3, TD3Config, value_in_steps
from discover_rl.agents.td3 import Generators
from discover_rl.agents.td3_update import Minibatches, PlainUpdate
from discover_rl.goals import PlainView
from discover_rl.replay import Batch

RUNS, OBS, ACT, GOAL, BATCH = 3, 2, 2, 1, 8
SMALL = {  # whatever the defaults are
    "policy_average": 0.0,
    "hidden_sizes": [16],
    "num_critics": 3,
    "actor_critics": 2,
    "target_critics": 2,
    "learning_rate": 1e-2,
    "gamma": 0.9,
    "tau": 0.01,
    "policy_delay": 2,
    "target_noise": 0.2,
    "target_noise_clip": 0.5,
    "actor_noise": 0.2,
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generators(seed):
    return Generators(*(torch.Generator().manual_seed(10 * seed + i) for i in range(3)))


def make(num_runs=RUNS, seed=0, terminate_on_success=False, **settings):
    config = TD3Config(**(SMALL | settings))
    return TD3(config, num_runs, ACT, terminate_on_success, generators(seed), PlainView(OBS, GOAL))


def batch_of(seed, num_runs=RUNS, **fields):
    generator = torch.Generator().manual_seed(1000 + seed)

    def normal(*shape):
        return torch.randn(num_runs, BATCH, *shape, generator=generator)

    coin = torch.rand(2, num_runs, BATCH, generator=generator).lt(0.3).float()
    steps = torch.where(coin[1] > 0, 5.0, torch.inf)
    one = torch.ones_like(steps)
    made = Batch(normal(OBS), normal(ACT).tanh(), normal(OBS), normal(GOAL), coin[0], coin[0], one, steps)
    return made._replace(**fields)


def stacked(*batches):
    """As an agent takes them: (run, count, batch, ...)."""
    return Batch(*(torch.stack(fields, dim=1) for fields in zip(*batches, strict=True)))


def plain(agent):
    assert isinstance(agent.learner, PlainUpdate)
    return agent.learner


def prepared(agent, *batches):
    """What the agent hands its learner for these batches; nothing is learned."""
    learner, kept = agent.learner, []
    agent.learner = lambda minibatches, first: kept.append(minibatches)
    agent.update(stacked(*batches * agent.config.policy_delay))  # repeated, so that their number is always allowed
    agent.learner = learner
    return kept[0]


def bellman_targets(agent, *batches):
    """The target of each batch, (run, count, batch)."""
    minibatches = prepared(agent, *batches)
    return torch.stack([plain(agent)._bellman_target(only(minibatches, k)) for k in range(len(batches))], dim=1)


def only(minibatches, k):
    return Minibatches(*(field[:, k] for field in minibatches))


def critic_step(agent, minibatches, k):
    plain(agent)._critic_gradients(only(minibatches, k))
    agent.networks.critic_adam.step()


def actor_step(agent, minibatches, k):
    plain(agent)._actor_gradients(only(minibatches, k))
    agent.networks.actor_adam.step()


def pair(seed):
    """Two batches, for a policy delay of two."""
    return stacked(batch_of(seed), batch_of(seed + 500))


def tensors(agent):
    return {name: tensor.clone() for name, tensor in (agent.parameters() | agent.state()).items()}


def inverse_softplus(q):
    return math.log(math.expm1(q))


def set_constant(agent, parameter, values):
    """Make each member of these critics answer its constant, in all runs."""
    parameter.zero_()
    bias = agent.networks.critic_net.slots[-1][1]
    parameter[..., bias] = torch.tensor([inverse_softplus(q) for q in values])[:, None]


def targets_of(agent, **fields):
    """The Bellman target of one batch in which every transition has these fields, the first of it."""
    constant = {name: torch.full((agent.num_runs, BATCH), value) for name, value in fields.items()}
    target = bellman_targets(agent, batch_of(0, agent.num_runs, **constant))
    assert (target == target[0, 0, 0]).all()
    return target[0, 0, 0].item()


# -- the target ------------------------------------------------------------------------------------------


def constant_critics(**settings):
    """Three target critics that say 0.5, 0.2 and 0.8, all of them drawn; γ = 0.9."""
    agent = make(target_critics=3, **settings)
    set_constant(agent, agent.networks.target_critics, [0.5, 0.2, 0.8])
    return agent


@pytest.mark.parametrize(
    ("reward", "terminated", "steps", "expected"),
    [
        (0.0, 0.0, math.inf, 0.18),  # 0.9·min(0.5, 0.2, 0.8)
        (1.0, 1.0, math.inf, 1.0),  # the goal: nothing follows
        (0.0, 1.0, math.inf, 0.0),  # a failure: nothing follows
        (0.0, 0.0, 5.0, 0.59049),  # reached 5 steps later: 0.9^5 > 0.18
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, 20.0, 0.18),  # 0.9^20 = 0.12 < 0.18: a lower bound, no replacement
        (1.0, 0.0, math.inf, 1.0),  # 1 + 0.18, clipped at the largest value there is
    ],
)
def test_the_target_by_hand_where_the_goal_pays_once(reward, terminated, steps, expected):
    agent = constant_critics(goal_is_terminal=True)
    target = targets_of(agent, reward=reward, terminated=terminated, steps_to_goal=steps)
    assert target == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("reward", "terminated", "steps", "expected"),
    [
        (0.0, 0.0, math.inf, 0.18),
        (1.0, 0.0, math.inf, 1.18),  # it pays again and again, up to 1/(1 - 0.9) = 10
        (1.0, 1.0, math.inf, 1.0),
        (0.0, 0.0, 0.0, 0.18),  # the bound belongs to the other mode
    ],
)
def test_the_target_by_hand_where_the_goal_pays_at_each_step(reward, terminated, steps, expected):
    agent = constant_critics(goal_is_terminal=False)
    target = targets_of(agent, reward=reward, terminated=terminated, steps_to_goal=steps)
    assert target == pytest.approx(expected, abs=1e-5)


def test_the_target_of_several_steps_by_hand():
    agent = constant_critics(goal_is_terminal=True)
    assert targets_of(agent, reward=0.0, terminated=0.0, steps=3.0, steps_to_goal=math.inf) == pytest.approx(
        0.9**3 * 0.2, abs=1e-5
    )
    assert targets_of(agent, reward=1.0, terminated=1.0, steps=3.0, steps_to_goal=math.inf) == pytest.approx(
        0.9**2, abs=1e-5
    )
    assert targets_of(agent, reward=0.0, terminated=1.0, steps=3.0, steps_to_goal=math.inf) == pytest.approx(
        0.0, abs=1e-5
    )
    # known to be reached five steps after the first, which is not five after the third
    target = targets_of(agent, reward=0.0, terminated=0.0, steps=3.0, steps_to_goal=5.0)
    assert target == pytest.approx(0.9**5, abs=1e-5)


def test_targets_of_several_steps_end_at_the_goal():
    with pytest.raises(ValueError, match="n-step targets end at the goal"):
        make(n_steps=2, goal_is_terminal=False)
    assert make(n_steps=1, goal_is_terminal=False).n_steps == 1
    assert make(n_steps=2, goal_is_terminal=False, terminate_on_success=True).n_steps == 2


def test_the_target_is_clipped_at_the_largest_value():
    agent = make(target_critics=3, goal_is_terminal=False)
    set_constant(agent, agent.networks.target_critics, [50.0, 60.0, 70.0])
    assert targets_of(agent, reward=0.0, terminated=0.0) == pytest.approx(10.0)  # not 0.9·50 = 45


def test_the_bound_can_be_switched_off():
    agent = constant_critics(goal_is_terminal=True, hindsight_bound=False)
    assert targets_of(agent, reward=0.0, terminated=0.0, steps_to_goal=1.0) == pytest.approx(0.18, abs=1e-5)


def test_an_environment_that_ends_at_its_goal_makes_the_goal_terminal():
    agent = make(goal_is_terminal=False, terminate_on_success=True)
    assert agent.goal_is_terminal
    assert plain(agent).value_max == 1.0
    assert not make(goal_is_terminal=False).goal_is_terminal


def test_all_critics_of_a_run_are_pulled_to_one_target():
    agent = constant_critics(policy_delay=1)
    set_constant(agent, agent.networks.critics, [0.1, 0.4, 0.6])
    nothing = torch.zeros(RUNS, BATCH)
    agent.update(stacked(batch_of(0, reward=nothing, terminated=nothing, steps_to_goal=nothing + torch.inf)))
    # one target, 0.18: squared errors 0.08², 0.22², 0.42² = 0.0064, 0.0484, 0.1764, mean 0.0771
    assert agent.metrics()["train/critic_loss"].tolist() == pytest.approx([0.2312 / 3] * RUNS, rel=1e-3)
    assert agent.metrics()["train/q_mean"].tolist() == pytest.approx([1.1 / 3] * RUNS, rel=1e-4)


def test_each_update_and_each_run_draws_its_own_two_of_three_critics():
    agent = make(num_runs=400)
    set_constant(agent, agent.networks.target_critics, [0.2, 0.5, 0.8])
    none = torch.zeros(400, BATCH)
    batch = batch_of(0, 400, reward=none, terminated=none, steps_to_goal=none + torch.inf)
    drawn = torch.cat([bellman_targets(agent, batch, batch)[..., 0] for _ in range(3)], dim=1)
    # of the pairs {0.2, 0.5}, {0.2, 0.8}, {0.5, 0.8} two have the minimum 0.2, one has 0.5 - never 0.8, as it
    # would be if a pair could be one critic twice
    lowest = (drawn - 0.18).abs() < 1e-4
    middle = (drawn - 0.45).abs() < 1e-4
    assert (lowest | middle).all()
    assert lowest.float().mean().item() == pytest.approx(2 / 3, abs=0.05)
    # two draws of one call, and draws of three calls; if they were all the same, these would be 2/3
    assert lowest[:, :2].any(1).float().mean() > 0.83  # 1 - (1/3)^2
    assert lowest[:, ::2].any(1).float().mean() > 0.9  # 1 - (1/3)^3


def action_reader(agent, parameter):
    """Make critics answer softplus(1 + first action coordinate)."""
    parameter.zero_()
    (w1, b1), (w2, _) = agent.networks.critic_net.layers(parameter)
    w1[:, OBS + GOAL, 0] = 1.0
    b1[:, 0, 0] = 1.0
    w2[:, 0, 0] = 1.0


def test_the_noise_on_target_actions_is_clipped():
    agent = make(target_noise=5.0, target_noise_clip=0.3)
    action_reader(agent, agent.networks.target_critics)
    agent.networks.target_actor.zero_()  # action 0
    none = torch.zeros(RUNS, BATCH)
    batch = batch_of(0, reward=none, terminated=none, steps_to_goal=none + torch.inf)
    q = bellman_targets(agent, *[batch] * 30) / 0.9
    low, high = softplus(torch.tensor([0.7, 1.3])).tolist()  # softplus(1 ± 0.3), all below the clip at 1/0.9 ...
    assert q.min().item() == pytest.approx(low, abs=1e-5)
    assert q.max().item() == pytest.approx(min(high, 1 / 0.9), abs=1e-5)  # ... but the highest


def test_without_noise_the_target_is_that_of_the_target_actors_action():
    agent = make(target_noise=0.0, gamma=0.5)
    action_reader(agent, agent.networks.target_critics)
    batch = batch_of(0, reward=torch.zeros(RUNS, BATCH), terminated=torch.zeros(RUNS, BATCH))
    batch = batch._replace(steps_to_goal=torch.full((RUNS, BATCH), torch.inf))
    agent.networks.actor.zero_()  # the online actor has no say in it
    state = torch.cat([batch.next_observation, batch.goal], dim=-1)
    action = agent.networks.actor_net.plain(agent.networks.target_actor, state).tanh()
    torch.testing.assert_close(bellman_targets(agent, batch)[:, 0], 0.5 * softplus((1 + action[..., 0]).relu()))


# -- updates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [False, True])
def test_the_gradient_of_the_critics_is_that_of_autograd(relative):
    # without noise, and with all target critics drawn, an update has no chance in it
    settings = {"target_critics": 3, "target_noise": 0.0, "hidden_sizes": [16, 16], "relative_gradients": relative}
    agent = make(policy_delay=1, **settings)
    batch, networks = batch_of(0), agent.networks
    target = bellman_targets(agent, batch)
    critics = networks.critics.detach().clone().requires_grad_()
    inputs = torch.cat([batch.observation, batch.goal, batch.action], -1)[:, None]
    logit = networks.critic_net.plain(critics, inputs)[..., 0]
    q = softplus(logit)
    loss = (q - target).square().mean(-1)
    # of the deviance only its slope by the logit has a simple form, twice the error
    descended = 2 * ((q - target).detach() * logit).mean(-1) if relative else loss
    (gradient,) = torch.autograd.grad(descended.sum(), critics)
    agent.update(stacked(batch))
    assert networks.critics.grad is not None
    torch.testing.assert_close(networks.critics.grad, gradient, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(agent.metrics()["train/critic_loss"], loss.detach().mean(1))


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("saturation_penalty", [0.0, 0.5])
@pytest.mark.parametrize("actor_noise", [0.0, 1.0])
@pytest.mark.parametrize("actor_critics", [2, 3])
def test_the_gradient_of_the_actor_is_that_of_autograd(actor_critics, actor_noise, saturation_penalty, relative):
    agent = make(
        relative_gradients=relative,
        policy_delay=1,
        actor_critics=actor_critics,
        actor_noise=actor_noise,
        saturation_penalty=saturation_penalty,
        hidden_sizes=[16, 16],
    )
    networks = agent.networks
    networks.actor.mul_(4)  # actions from one end of the range to the other
    batch = batch_of(0)
    minibatches = prepared(agent, batch_of(1), batch)
    actor = networks.actor.detach().clone().requires_grad_()
    critic_step(agent, minibatches, 1)
    state = torch.cat([batch.observation, batch.goal], -1)
    before_tanh = networks.actor_net.plain(actor, state)
    action = before_tanh.tanh()
    beyond = action.sign() * (action.abs() - math.tanh(2)).relu() / (1 - math.tanh(2))
    assert 0.1 < (beyond != 0).float().mean() < 0.9
    push = saturation_penalty * (beyond.detach() * before_tanh).sum(-1).mean(-1)
    if actor_noise:
        action = (action + minibatches.actor_noise[:, 1]).clamp(-1, 1)
        assert 0.1 < (action.abs() == 1).float().mean() < 0.9  # where clipped, no gradient goes through
    chosen = networks.critics.detach()[torch.arange(RUNS)[:, None], minibatches.actor_members[:, 1]]
    logit = networks.critic_net.plain(chosen, torch.cat([state, action], -1)[:, None])
    loss = -softplus(logit[..., 0]).mean((1, 2))
    descended = -logit[..., 0].mean((1, 2)) if relative else loss
    (gradient,) = torch.autograd.grad((descended + push).sum(), actor)
    actor_step(agent, minibatches, 1)
    assert networks.actor.grad is not None
    torch.testing.assert_close(networks.actor.grad, gradient, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(agent.metrics()["train/actor_loss"], loss.detach())


@pytest.mark.parametrize(("relative", "slope"), [(False, 1 - math.exp(-0.05)), (True, 1.0)])
def test_with_relative_gradients_a_small_value_is_pulled_as_a_large_one_is(relative, slope):
    """And still to the mean of what it is told: one of four outcomes is a success."""
    told = torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(RUNS, BATCH // 4)
    for value, pull in ((0.25, 0.0), (0.05, 2 * (0.05 - 0.25) * slope)):
        agent = make(policy_delay=1, relative_gradients=relative, hindsight_bound=False)
        set_constant(agent, agent.networks.critics, [value] * agent.config.num_critics)
        agent.update(stacked(batch_of(0)._replace(reward=told, terminated=torch.ones_like(told))))
        assert agent.networks.critics.grad is not None
        found = agent.networks.critics.grad[..., agent.networks.critic_net.slots[-1][1]]
        torch.testing.assert_close(found, torch.full_like(found, pull), atol=1e-6, rtol=1e-4)


def test_an_actor_at_the_bounds_of_its_actions_comes_back_with_the_penalty():
    share_at_bounds = {}
    for penalty in (0.0, 0.01):
        agent, batch = make(policy_delay=1, saturation_penalty=penalty, learning_rate=3e-3), batch_of(0)
        agent.networks.actor.mul_(5)

        def at_bounds(agent=agent, batch=batch):
            return float((agent.act(batch.observation, batch.goal).abs() > 0.99).float().mean())

        assert at_bounds() > 0.6
        for _ in range(300):
            agent.update(stacked(batch))
        share_at_bounds[penalty] = at_bounds()
    assert share_at_bounds[0.0] > 0.6  # where tanh is flat the critics move little
    assert share_at_bounds[0.01] < 0.1


@pytest.mark.parametrize("policy_delay", [1, 2, 3])
def test_a_batch_is_one_critic_update_and_policy_delay_of_them_are_one_of_the_actor(policy_delay):
    agent = make(policy_delay=policy_delay)
    assert agent.batch_multiple == policy_delay
    actor_steps = 0
    for groups in (1, 1, 3):
        agent.update(stacked(*(batch_of(seed) for seed in range(groups * policy_delay))))
        actor_steps += groups
        assert agent.state()["adam/critics/step"] == actor_steps * policy_delay
        assert agent.state()["adam/actor/step"] == actor_steps


def test_the_number_of_batches_must_be_a_multiple_of_policy_delay():
    agent = make(policy_delay=2)
    before = tensors(agent)
    with pytest.raises(ValueError, match=r"3 batches for an update; give a multiple of policy_delay=2"):
        agent.update(stacked(*(batch_of(seed) for seed in range(3))))
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(agent).items())


@pytest.mark.parametrize("policy_delay", [1, 2])
def test_many_batches_at_once_are_learned_in_their_order(policy_delay):
    # without noise, and with all critics drawn, the only chance is in the batches
    no_chance = {"target_noise": 0.0, "actor_noise": 0.0, "target_critics": 3, "actor_critics": 3}
    at_once, in_turn = (make(policy_delay=policy_delay, **no_chance) for _ in range(2))
    batches = [batch_of(seed) for seed in range(6)]
    at_once.update(stacked(*batches))
    for first in range(0, 6, policy_delay):
        in_turn.update(stacked(*batches[first : first + policy_delay]))
    one, other = tensors(at_once), tensors(in_turn)
    for name in one:  # members come in another order, so sums over them may differ in their last bit
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)
    assert at_once.metrics().keys() == in_turn.metrics().keys()
    for tag, value in at_once.metrics().items():  # of the last batch
        torch.testing.assert_close(value, in_turn.metrics()[tag])


def test_the_actor_learns_from_the_last_of_its_batches(monkeypatch):
    agent, asked = make(policy_delay=2), []
    monkeypatch.setattr(agent.learner, "_actor_gradients", lambda batch: asked.append(batch.reward.clone()))
    batches = [batch_of(seed) for seed in range(4)]
    agent.update(stacked(*batches))
    assert len(asked) == 2
    assert torch.equal(asked[0], batches[1].reward)
    assert torch.equal(asked[1], batches[3].reward)


def test_the_targets_move_by_tau_towards_the_online_networks_once_an_actor_update():
    agent = make(tau=0.1, policy_delay=3)
    agent.networks.target_actor.add_(0.5)
    agent.networks.target_critics.sub_(0.5)
    before = tensors(agent)
    agent.update(stacked(*[batch_of(0)] * 3))
    after = tensors(agent)
    for name in ("actor", "critics"):
        old, online = before[f"target_{name}"], after[name]
        torch.testing.assert_close(after[f"target_{name}"], old + 0.1 * (online - old))
        assert not torch.equal(after[name], before[name])


def test_critic_and_actor_updates_change_only_their_own_network():
    agent = make()
    minibatches = prepared(agent, batch_of(0))
    before = tensors(agent)
    critic_step(agent, minibatches, 0)
    changed = {name for name, tensor in tensors(agent).items() if not torch.equal(tensor, before[name])}
    assert changed == {"critics", "adam/critics/step", "adam/critics/exp_avg", "adam/critics/exp_avg_sq"}
    before = tensors(agent)
    actor_step(agent, minibatches, 0)
    changed = {name for name, tensor in tensors(agent).items() if not torch.equal(tensor, before[name])}
    assert changed == {"actor", "adam/actor/step", "adam/actor/exp_avg", "adam/actor/exp_avg_sq"}


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate():
    agent = make(learning_rate=1e-3, policy_delay=1)
    critics = agent.networks.critics
    before = critics.detach().clone()
    agent.update(stacked(batch_of(0)))
    # m / (sqrt(v) + ε) is ±1 at the first step wherever the gradient is far above ε
    step = (critics - before).abs()
    assert critics.grad is not None
    assert step[critics.grad.abs() > 1e-4].sub(1e-3).abs().max() < 1e-5
    assert step.max() < 1.01e-3


def test_the_critics_learn_the_target_of_a_fixed_batch():
    agent = make(policy_delay=1)
    batch = batch_of(0, reward=torch.ones(RUNS, BATCH), terminated=torch.ones(RUNS, BATCH))
    losses = []
    for _ in range(150):
        agent.update(stacked(batch))
        losses.append(agent.metrics()["train/critic_loss"].max().item())
    assert losses[-1] < 0.01 < losses[0]
    assert agent.metrics()["train/q_mean"].tolist() == pytest.approx([1.0] * RUNS, abs=0.1)


def test_the_actor_ascends_the_critics():
    agent = make(learning_rate=1e-2)
    action_reader(agent, agent.networks.critics)  # more of the first action coordinate is better
    batch = batch_of(0)
    minibatches = prepared(agent, *[batch] * 100)
    for k in range(100):
        actor_step(agent, minibatches, k)
    assert (agent.act(batch.observation, batch.goal)[..., 0] > 0.8).all()


def test_a_run_with_a_smaller_learning_rate_moves_as_adam_does_with_it():
    mixed, usual, slow = make(learning_rate=1e-3), make(learning_rate=1e-3), make(learning_rate=5e-4)
    mixed.networks.learning_rates[1] = 5e-4
    for call in range(3):
        for agent in (mixed, usual, slow):
            agent.update(pair(call))
    for name, tensor in mixed.parameters().items():
        assert torch.equal(tensor[[0, 2]], usual.parameters()[name][[0, 2]]), name
        assert not torch.equal(tensor[1], usual.parameters()[name][1]), name
        torch.testing.assert_close(tensor[1], slow.parameters()[name][1], rtol=1e-4, atol=1e-6)


# -- runs and seeds --------------------------------------------------------------------------------------


def test_the_batches_of_one_run_never_reach_another():
    first, second = make(), make()
    for call in range(5):
        batches, strange = pair(call), pair(call + 100)
        mixed = Batch(*(torch.stack([a[0], b[1], a[2]]) for a, b in zip(batches, strange, strict=True)))
        first.update(batches)
        second.update(mixed)
    one, other = tensors(first) | first.metrics(), tensors(second) | second.metrics()
    for name, tensor in one.items():
        if name.endswith("/step"):
            continue
        assert torch.equal(tensor[[0, 2]], other[name][[0, 2]]), name
        assert not torch.equal(tensor[1], other[name][1]), name


def test_runs_start_and_stay_different():
    agent = make()
    for tensor in agent.parameters().values():
        assert not torch.equal(tensor[0], tensor[1])
    assert not torch.equal(agent.networks.critics[0, 0], agent.networks.critics[0, 1])


def test_the_seed_decides_everything():
    def trained(seed):
        agent = make(seed=seed)
        for call in range(3):
            agent.update(pair(call))
        return tensors(agent)

    first, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["actor"], other["actor"])


# -- acting ----------------------------------------------------------------------------------------------


def test_act_is_deterministic_and_equals_the_plain_network():
    agent, batch = make(), batch_of(0)
    action = agent.act(batch.observation, batch.goal)
    state = torch.cat([batch.observation, batch.goal], -1)
    torch.testing.assert_close(action, agent.networks.actor_net.plain(agent.networks.actor, state).tanh())
    assert torch.equal(action, agent.act(batch.observation, batch.goal))
    assert not action.requires_grad


def test_exploring_follows_the_policy_that_was_held_last():
    agent, batch = make(), batch_of(0)
    silent = torch.zeros(RUNS, BATCH)
    held = agent.act(batch.observation, batch.goal)
    agent.networks.actor.mul_(-2)
    learned = agent.act(batch.observation, batch.goal)
    assert not torch.allclose(learned, held)
    assert torch.equal(agent.explore(batch.observation, batch.goal, silent), held)
    agent.hold_policy()
    assert torch.equal(agent.explore(batch.observation, batch.goal, silent), learned)
    agent.load({name: tensor / -2 if name == "actor" else tensor for name, tensor in agent.parameters().items()})
    assert torch.equal(agent.explore(batch.observation, batch.goal, silent), held)


def test_the_policy_that_acts_is_an_average_over_updates_and_exploring_follows_the_actor():
    agent, batch = make(policy_average=0.6, policy_delay=2), batch_of(0)
    silent = torch.zeros(RUNS, BATCH)
    policy = agent.networks.actor.clone()
    assert torch.equal(agent.parameters()["policy"], policy)
    rates = [10 / 12, 10 / 14, 10 / 16, 0.6, 0.6]  # faster at first
    for seed, rate in enumerate(rates):
        agent.update(pair(seed))
        policy = policy.lerp(agent.networks.actor, 1 - (1 - rate) ** 2)  # two updates at once
    torch.testing.assert_close(agent.parameters()["policy"], policy)
    agent.hold_policy()
    explored, acted = agent.explore(batch.observation, batch.goal, silent), agent.act(batch.observation, batch.goal)
    assert not torch.allclose(explored, acted)
    agent.networks.actor.copy_(policy)
    agent.hold_policy()
    torch.testing.assert_close(agent.explore(batch.observation, batch.goal, silent), acted)


@pytest.mark.parametrize("policy_average", [0.5, 0.0], ids=["averaged", "of before there was an average"])
def test_loaded_parameters_act_as_they_did(policy_average):
    trained, batch = make(policy_average=policy_average), batch_of(0)
    trained.update(pair(0))
    agent = make(policy_average=0.5)
    agent.load(trained.parameters())
    assert torch.equal(agent.act(batch.observation, batch.goal), trained.act(batch.observation, batch.goal))


def test_without_an_average_the_actor_itself_acts():
    agent, batch = make(), batch_of(0)
    agent.update(pair(0))
    agent.hold_policy()
    silent = torch.zeros(RUNS, BATCH)
    assert "policy" not in agent.parameters()
    assert torch.equal(agent.act(batch.observation, batch.goal), agent.explore(batch.observation, batch.goal, silent))


def test_exploring_stays_in_the_action_range_and_reaches_its_rim():
    agent, batch = make(exploration_noise=5.0, exploration_noise_clip=3.0), batch_of(0)
    scale = torch.ones(RUNS, BATCH)
    actions = torch.cat([agent.explore(batch.observation, batch.goal, scale) for _ in range(20)])
    assert actions.max() == 1
    assert actions.min() == -1


def test_exploration_noise_is_clipped():
    agent, batch = make(exploration_noise=5.0, exploration_noise_clip=0.3), batch_of(0)
    agent.networks.actor.zero_()  # the policy says 0
    agent.hold_policy()
    actions = agent.explore(batch.observation, batch.goal, torch.ones(RUNS, BATCH))
    assert actions.abs().max().item() == pytest.approx(0.3)


def test_scale_multiplies_the_deviation_of_each_episode():
    agent, batch = make(exploration_noise=0.1, exploration_noise_clip=0.9), batch_of(0)
    agent.networks.actor.zero_()
    agent.hold_policy()
    scale = torch.linspace(0, 2, RUNS * BATCH).view(RUNS, BATCH)
    drawn = torch.stack([agent.explore(batch.observation, batch.goal, scale) for _ in range(400)])
    deviation = drawn.std(dim=(0, 3), correction=0)
    torch.testing.assert_close(deviation, 0.1 * scale, rtol=0.15, atol=0)
    assert not drawn[:, 0, 0].any()  # scale 0: the policy itself


def test_values_are_mean_and_deviation_over_the_transformed_critics():
    agent, batch = make(), batch_of(0)
    set_constant(agent, agent.networks.critics, [0.2, 0.5, 0.8])
    value = agent.values(batch.observation, batch.goal)
    steps = value_in_steps(torch.tensor([0.2, 0.5, 0.8]), 0.9, True)
    # of the steps, not of the values: log(0.21)/-log(0.9) and so on, about -14.8, -6.4, -2.0
    assert steps.tolist() == pytest.approx([math.log(q + 0.01) / -math.log(0.9) for q in (0.2, 0.5, 0.8)])
    torch.testing.assert_close(value.mean, steps.mean().expand(RUNS, BATCH), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(value.std, steps.std(correction=0).expand(RUNS, BATCH), rtol=1e-4, atol=1e-4)


def test_values_use_the_online_critics_at_the_online_policys_action():
    agent, batch = make(), batch_of(0)
    agent.networks.target_critics.zero_()
    agent.networks.target_actor.zero_()
    action_reader(agent, agent.networks.critics)
    action = agent.act(batch.observation, batch.goal)
    expected = value_in_steps(softplus((1 + action[..., 0]).relu()), 0.9, True)
    torch.testing.assert_close(agent.values(batch.observation, batch.goal).mean, expected)


# -- state -----------------------------------------------------------------------------------------------


def test_a_loaded_agent_goes_on_exactly_as_the_one_that_was_saved():
    first, second = make(seed=1), make(seed=2)
    for call in range(3):
        first.update(pair(call))
    second.load(tensors(first))
    for mine, theirs in zip(second.generators, first.generators, strict=True):
        mine.set_state(theirs.get_state())
    for call in range(3, 6):
        for agent in (first, second):
            agent.update(pair(call))
    one, other = tensors(first), tensors(second)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_moments_of_adam_matter_to_that():
    first, second = make(seed=1), make(seed=1)
    for call in range(3):
        first.update(pair(call))
    second.load({name: t for name, t in tensors(first).items() if not name.startswith("adam/")} | adam_of(second))
    for mine, theirs in zip(second.generators, first.generators, strict=True):
        mine.set_state(theirs.get_state())
    for agent in (first, second):
        agent.update(pair(9))
    assert not torch.equal(first.networks.critics, second.networks.critics)


def adam_of(agent):
    return {name: tensor for name, tensor in tensors(agent).items() if name.startswith("adam/")}


def test_parameters_alone_are_enough_to_act():
    first, second, batch = make(seed=1), make(seed=2), batch_of(0)
    before = second.state()["target_actor"].clone()
    second.load(first.parameters())
    assert torch.equal(second.act(batch.observation, batch.goal), first.act(batch.observation, batch.goal))
    for mine, theirs in zip(
        second.values(batch.observation, batch.goal), first.values(batch.observation, batch.goal), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert torch.equal(second.state()["target_actor"], before)


def test_parameters_and_state_are_references_and_share_nothing():
    agent = make()
    named = agent.parameters() | agent.state()
    agent.update(pair(0))
    now = agent.parameters() | agent.state()
    assert all(torch.equal(named[name], now[name]) for name in named)
    assert len({tensor.data_ptr() for tensor in named.values()}) == len(named)
    assert not any(tensor.requires_grad for tensor in named.values())


def test_loading_into_another_shape_says_which_tensor_and_what_to_do():
    with pytest.raises(ValueError, match=r"tensor 'actor' has shape .* use the configuration that it was trained with"):
        make(hidden_sizes=[8]).load(make().parameters())
    with pytest.raises(ValueError, match="tensor 'critics' is missing; it has actor"):
        make().load({"actor": make().networks.actor})
    given = tensors(make())
    del given["adam/critics/exp_avg_sq"]
    with pytest.raises(ValueError, match="tensor 'adam/critics/exp_avg_sq' is missing"):
        make().load(given)


# -- configuration ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_sizes": []}, "agent.hidden_sizes needs positive widths"),
        ({"hidden_sizes": [16, 0]}, "agent.hidden_sizes needs positive widths"),
        ({"num_critics": 0}, "agent.num_critics must be at least 1, got 0"),
        ({"policy_delay": 0}, "agent.policy_delay must be at least 1"),
        ({"target_critics": 0}, "agent.target_critics must be at least 1"),
        ({"actor_critics": 0}, "agent.actor_critics must be at least 1"),
        ({"num_critics": 6, "target_critics": 7}, "agent.target_critics=7 is more than agent.num_critics=6"),
        ({"num_critics": 6, "actor_critics": 7}, "agent.actor_critics=7 is more than agent.num_critics=6"),
        ({"gamma": 1.0}, "agent.gamma must lie strictly between 0 and 1, got 1.0"),
        ({"gamma": 0.0}, "agent.gamma must lie strictly between 0 and 1"),
        ({"tau": 0.0}, r"agent.tau must lie in \(0, 1\]"),
        ({"tau": 1.5}, r"agent.tau must lie in \(0, 1\]"),
        ({"learning_rate": 0.0}, "agent.learning_rate must be positive"),
        ({"policy_average": 1.5}, "agent.policy_average must lie in .0, 1., got 1.5"),
        ({"target_noise": math.nan}, "agent.target_noise must not be negative, and finite, got nan"),
        ({"exploration_noise": math.inf}, "agent.exploration_noise must not be negative, and finite, got inf"),
        ({"exploration_noise_clip": math.nan}, "agent.exploration_noise_clip must not be negative, got nan"),
        ({"learning_rate": math.inf}, "agent.learning_rate must be positive and finite, got inf"),
        ({"hindsight_slack": math.inf}, "agent.hindsight_slack must be at least 1 and finite, got inf"),
        ({"target_noise": -0.1}, "agent.target_noise must not be negative"),
        ({"target_noise_clip": -0.1}, "agent.target_noise_clip must not be negative"),
        ({"actor_noise": -0.1}, "agent.actor_noise must not be negative"),
        ({"hindsight_slack": 0.5}, "agent.hindsight_slack must be at least 1 and finite, got 0.5"),
        ({"hindsight_confidence": 0.0}, r"agent.hindsight_confidence must lie in \(0, 1\], got 0.0"),
        ({"hindsight_confidence": 1.5}, r"agent.hindsight_confidence must lie in \(0, 1\], got 1.5"),
        ({"exploration_noise": -0.1}, "agent.exploration_noise must not be negative"),
        ({"exploration_noise_clip": -0.1}, "agent.exploration_noise_clip must not be negative"),
    ],
)
def test_bad_settings_are_refused_in_words(settings, message):
    with pytest.raises(ValueError, match=message):
        TD3Config(**settings)

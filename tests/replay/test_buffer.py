import pytest
import torch

from discover_rl.replay import ReplayBuffer, RowLayout

CPU = torch.device("cpu")
LAYOUT = RowLayout(observation_dim=4, action_dim=1, goal_dim=2)
RUNS, TIME, ENVS = 2, 3, 4


def block(number, runs=RUNS):
    """A round whose observations say (run, round, t, env)."""
    axes = (torch.arange(runs), torch.tensor([number]), torch.arange(TIME), torch.arange(ENVS))
    code = torch.cartesian_prod(*axes).float().view(runs, TIME, ENVS, 4)
    rest = torch.zeros(runs, TIME, ENVS, LAYOUT.width - 4)
    return torch.cat([code, rest], dim=-1)


def buffer(rounds=0, capacity=3 * TIME * ENVS):
    made = ReplayBuffer(RUNS, ENVS, TIME, capacity, LAYOUT, CPU)
    for number in range(rounds):
        made.add(block(number))
    return made


def rounds_stored(made):
    """The rounds that are found in the rows in use, and that the rows of each are complete and in order."""
    codes = LAYOUT.split(made.filled())[0]
    numbers = codes[0, :: TIME * ENVS, 1].long().tolist()
    expected = [LAYOUT.split(block(number).flatten(1, 2))[0] for number in numbers]
    assert torch.equal(codes, torch.cat(expected, 1) if expected else codes[:, :0])
    return numbers


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_split_gives_the_fields_in_the_order_they_were_put_together():
    layout = RowLayout(observation_dim=3, action_dim=2, goal_dim=4)
    fields = [torch.full((5, width), float(i)) for i, width in enumerate((3, 2, 3, 4, 1, 1))]
    rows = torch.cat(fields, dim=-1)
    assert layout.width == rows.shape[-1] == 14
    for back, field in zip(layout.split(rows), fields, strict=True):
        assert torch.equal(back, field)
    assert layout.split(rows)[1].data_ptr() == rows[:, 3:].data_ptr()  # views


def test_split_takes_any_leading_axes():
    rows = torch.randn(2, 3, 5, LAYOUT.width)
    assert [tuple(field.shape) for field in LAYOUT.split(rows)] == [(2, 3, 5, width) for width in (4, 1, 4, 2, 1, 1)]


@pytest.mark.parametrize(
    ("rounds", "stored"),
    [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (4, [3, 1, 2]), (5, [3, 4, 2]), (7, [6, 4, 5])],
)
def test_a_full_ring_overwrites_its_oldest_round(rounds, stored):
    made = buffer(rounds)
    assert rounds_stored(made) == stored
    assert made.rounds_added == rounds
    assert made.size.item() == len(stored) * TIME * ENVS


@pytest.mark.parametrize(("capacity", "slots"), [(36, 3), (47, 3), (48, 4), (12, 1), (11, 1), (1, 1)])
def test_capacity_is_rounded_down_to_whole_rounds_and_at_least_one(capacity, slots):
    made = buffer(10, capacity)
    assert made.num_slots == slots
    assert sorted(rounds_stored(made)) == list(range(10 - slots, 10))


def test_the_row_of_slot_t_env_stands_where_the_formula_says():
    made = buffer(2)
    slot, t, env = 1, 2, 3
    index = torch.full((RUNS, 1), (slot * TIME + t) * ENVS + env)
    assert LAYOUT.split(made.gather(index))[0][:, 0].tolist() == [[0, slot, t, env], [1, slot, t, env]]


def test_gather_reads_the_rows_of_its_own_run():
    made = buffer(3)
    index = torch.stack([torch.arange(36), torch.arange(36).flip(0)])
    code = LAYOUT.split(made.gather(index))[0]
    assert code[0, :, 0].tolist() == [0.0] * 36
    assert code[1, :, 0].tolist() == [1.0] * 36
    assert torch.equal(code[0, :, 1:], code[1, :, 1:].flip(0))


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
def test_draws_are_uniform_over_the_rows_in_use_and_over_nothing_else(rounds):
    made = buffer(rounds)
    size, count = min(rounds, 3) * TIME * ENVS, 400 * 36
    index = made.draw(count, generator())
    assert index.shape == (RUNS, count)
    for run in range(RUNS):
        observed = torch.bincount(index[run], minlength=size)
        assert observed.shape == (size,)  # none beyond
        expected = count / size
        chi_square = ((observed - expected).square() / expected).sum().item()
        freedom = size - 1  # mean, and the deviation is sqrt(2·freedom)
        assert abs(chi_square - freedom) < 5 * (2 * freedom) ** 0.5


def test_runs_draw_independently_of_each_other():
    index = buffer(3).draw(2000, generator())
    assert (index[0] == index[1]).float().mean().item() == pytest.approx(1 / 36, abs=0.02)


def test_draws_follow_the_seed():
    made = buffer(3)
    assert torch.equal(made.draw(50, generator(1)), made.draw(50, generator(1)))
    assert not torch.equal(made.draw(50, generator(1)), made.draw(50, generator(2)))


def test_an_empty_buffer_draws_zeros():
    assert not buffer().draw(10, generator()).any()


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 5])
def test_what_filled_gives_can_be_restored_and_goes_on_the_same(rounds):
    first, second = buffer(rounds), buffer(2)  # the second is not empty before
    second.restore(first.filled().clone(), first.rounds_added)
    for number in range(100, 103):
        assert torch.equal(first.filled(), second.filled())
        assert first.size == second.size
        assert torch.equal(first.draw(20, generator(number)), second.draw(20, generator(number)))
        first.add(block(number))
        second.add(block(number))


def test_what_is_added_is_copied():
    made, given = buffer(), block(7)
    made.add(given)
    given.zero_()
    assert rounds_stored(made) == [7]


@pytest.mark.parametrize("shape", [(2, 4, 3, 13), (1, 3, 4, 13), (2, 3, 4, 14), (2, 5, 4, 13)])
def test_a_round_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"a round has shape \(2, 3, 4, 13\), got"):
        buffer().add(torch.zeros(shape))


@pytest.mark.parametrize(("rounds_added", "rows"), [(1, 24), (2, 12), (9, 35), (0, 12)])
def test_rows_that_do_not_fit_are_not_restored(rounds_added, rows):
    made = buffer(1)
    with pytest.raises(ValueError, match=r"expected stored rows of shape \(2, \d+, 13\), got \(2, \d+, 13\)"):
        made.restore(torch.zeros(RUNS, rows, LAYOUT.width), rounds_added)
    assert rounds_stored(made) == [0]

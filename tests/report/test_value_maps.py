import numpy as np
import torch

from discover_rl.report.value_maps import MOMENTS, ValueMaps, one_of_each_cell, spread_over

CPU = torch.device("cpu")


def map_at(step):
    goals = torch.full((2, 3, 2), float(step % 97))
    goals[1, 2] = torch.nan
    return goals, goals[..., :1].expand(-1, -1, 3) - torch.tensor([0.0, 1.0, 2.0])


def filled(count, every=10):
    maps = ValueMaps()
    for step in range(every, every * count + 1, every):
        if maps.wants(step):
            maps.add(step, *map_at(step))
    return maps


def test_moments_stay_few_and_even_however_long_the_training():
    for count in (1, 2, 31, 32, 33, 100, 1000):
        steps = filled(count).steps
        assert min(count, MOMENTS // 2) <= len(steps) <= MOMENTS
        assert len(set(np.diff(steps))) <= 1
        assert steps[0] == 10
        assert 10 * count - steps[-1] < 2 * max([10, *np.diff(steps)])


def test_what_is_stored_comes_back_and_goes_on_alike():
    maps = filled(40)
    again = ValueMaps.from_tensors(maps.tensors())
    for step in range(410, 2000, 10):
        for one in (maps, again):
            if one.wants(step):
                one.add(step, *map_at(step))
    assert maps.steps == again.steps
    for name, tensor in maps.tensors().items():
        assert torch.equal(tensor.nan_to_num(-1), again.tensors()[name].nan_to_num(-1))
    run = maps.of_run(1)
    assert np.isnan(run.goals[:, 2]).all()
    np.testing.assert_array_equal(run.achievability[:, 0], [step % 97 for step in maps.steps])
    np.testing.assert_array_equal(run.relevance[:, 0], run.achievability[:, 0] - 2)
    assert ValueMaps.from_tensors({}).of_run(0).steps.shape == (0,)


def test_places_cover_a_buffer_evenly():
    places = spread_over(1000, 500, CPU)
    assert places.min() >= 0 and places.max() <= 999
    assert np.histogram(places.numpy(), bins=10, range=(0, 1000))[0].min() >= 45
    assert spread_over(1, 5, CPU).tolist() == [0] * 5


def test_one_state_of_each_cell_so_that_rare_ones_are_kept():
    crowd = torch.zeros(1, 5000, 2) + 0.01 * torch.rand(5000, 2)
    frontier = torch.tensor([[[4.0, 0.0], [4.0, 4.0], [0.0, 4.0]]])
    goals = torch.cat([crowd, frontier], dim=1)
    kept = one_of_each_cell(goals)[0]
    kept = kept[kept >= 0]
    assert set(range(5000, 5003)) <= set(kept.tolist())
    assert len(kept) == 4
    assert one_of_each_cell(goals, states=2)[0].min() >= 0


def test_cells_are_those_of_each_run():
    one, far = torch.rand(1, 300, 3), torch.rand(1, 300, 3) * 50
    both = one_of_each_cell(torch.cat([one, far]))
    assert torch.equal(both[0], one_of_each_cell(one)[0])
    assert torch.equal(both[1], one_of_each_cell(far)[0])

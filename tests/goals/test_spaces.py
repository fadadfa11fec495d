"""The goal spaces that ship: all keep the contract, and each says what is wrong with its arguments."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from discover_rl.config import load_plugin, plugin_names
from discover_rl.goals import (
    BoxGoals,
    DiscreteGoals,
    EmbeddingGoals,
    FullGoals,
    LinearGoals,
    XYGoals,
    describe_goal,
    goal_distance,
    goal_space_problems,
)

MATRIX = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0]]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x):
        return self.layers(x)


@pytest.fixture
def observations():
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: BoxGoals([3, 1], 0.2),
        lambda: XYGoals(0.2),
        lambda: FullGoals(0.2, observation_dim=4),
        lambda: FullGoals(0.2, [1.0, 2.0, 3.0, 4.0], 4),
        lambda: LinearGoals(MATRIX, 0.2, [1.0, -1.0]),
        lambda: DiscreteGoals([0, 2]),
        lambda: EmbeddingGoals(0.2, network=Encoder(), observation_dim=4),
    ],
)
def test_all_keep_the_contract(make, observations):
    space = make()
    targets = space.achieved(observations) + 7
    assert list(goal_space_problems(space, observations, targets)) == []
    assert not space.success(space.achieved(observations), targets).any()
    assert describe_goal(space, targets[0]).count("=") == space.dim
    assert (goal_distance(space, space.achieved(observations), targets) > 0).all()


def test_all_are_found_by_name():
    assert plugin_names("discover_rl.goal_spaces") == ["box", "discrete", "embedding", "full", "linear", "xy"]
    assert load_plugin("discover_rl.goal_spaces", "xy") is XYGoals


def test_what_they_compute(observations, tmp_path):
    first = observations[0]
    assert FullGoals(1.0, [1.0, 2.0, 4.0, 1.0], 4).achieved(first).equal(first / torch.tensor([1.0, 2.0, 4.0, 1.0]))
    expected = torch.stack([first[0] + 1, first[1] + first[2] - 1])
    torch.testing.assert_close(LinearGoals(MATRIX, 1.0, [1.0, -1.0]).achieved(first), expected)
    np.save(tmp_path / "map.npy", np.array(MATRIX))
    from_file = LinearGoals(str(tmp_path / "map.npy"), 1.0)
    assert from_file.achieved(first).equal(LinearGoals(MATRIX, 1.0).achieved(first))
    space = DiscreteGoals([0, 1], ["a", "b"])
    assert space.success(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), torch.tensor([1.1, 2.0])).tolist() == [True, False]
    assert space.distance(torch.tensor([4.0, 2.0]), torch.tensor([1.0, 3.0])) == 2
    assert space.describe(torch.tensor([1.0, 2.0])) == "a=1, b=2"


def test_an_embedding_from_object_class_and_file_is_the_same(observations, tmp_path):
    network = Encoder().eval()
    expected = network(observations)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    batch = torch.export.Dim("batch")
    program = torch.export.export(network, (observations,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "encoder.pt2")
    network.train()  # their own copy is not disturbed by dropout
    for space in (
        EmbeddingGoals(0.1, network=network, observation_dim=4),
        EmbeddingGoals(
            0.1, module=f"{__name__}:Encoder", weights=str(tmp_path / "weights.safetensors"), observation_dim=4
        ),
        EmbeddingGoals(0.1, file=str(tmp_path / "encoder.pt2"), observation_dim=4),
    ):
        assert space.dim == 3
        torch.testing.assert_close(space.achieved(observations), expected)
        assert space.achieved(observations[None, :, None]).shape == (1, 5, 1, 3)
        assert not space.achieved(observations).requires_grad
    assert network.training


NOT_A_NETWORK = 3


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: XYGoals(0.0), "radius must be positive, got 0.0"),
        (lambda: FullGoals(1.0, [1.0, 0.0], 2), "scale needs 2 positive numbers"),
        (lambda: FullGoals(1.0, [1.0], 2), "scale needs 2 positive numbers, one for each coordinate"),
        (lambda: LinearGoals([[1.0], [1.0, 2.0]], 1.0), "matrix must hold rows of numbers, all of one length"),
        (lambda: LinearGoals([], 1.0), "matrix must have rows and columns"),
        (lambda: LinearGoals("no.npy", 1.0), "matrix file 'no.npy' does not exist"),
        (lambda: LinearGoals(MATRIX, 1.0, [1.0]), "matrix has 2 rows but offset has 1 numbers"),
        (lambda: LinearGoals(MATRIX, 1.0).achieved(torch.zeros(3)), "matrix has 4 columns, but observations have wid"),
        (lambda: DiscreteGoals([]), "indices is empty"),
        (lambda: EmbeddingGoals(1.0), "name the module by one of file="),
        (lambda: EmbeddingGoals(1.0, file="no.pt2"), "the file 'no.pt2' does not exist"),
        (lambda: EmbeddingGoals(1.0, file=__file__), "is not a program saved by torch.export.save"),
        (lambda: EmbeddingGoals(1.0, module=f"{__name__}:NOT_A_NETWORK"), "is a int, not a torch.nn.Module"),
        (lambda: EmbeddingGoals(1.0, module=f"{__name__}:Encoder", weights=__file__), "does not fit"),
        (
            lambda: EmbeddingGoals(1.0, network=Encoder(), observation_dim=5),
            "does not take observations of shape (3, 5)",
        ),
        (lambda: EmbeddingGoals(1.0, network=nn.Flatten(0), observation_dim=5), "it made (15,) of (3, 5)"),
    ],
)
def test_bad_arguments_are_refused_in_words(make, sentence):
    with pytest.raises(ValueError) as info:
        make()
    assert sentence in str(info.value)

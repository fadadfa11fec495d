import math

import pytest
import torch

from discover_rl.nets import StackedMLP

SHAPES = [((2,), (2,)), ((3, 4), (3, 4)), ((3, 4), (3, 1)), ((3, 4), (1, 1)), ((3, 4), (1, 4)), ((1, 1), (1, 1))]


class ByHand(torch.autograd.Function):
    """``forward`` and ``backward`` of a stack as one differentiable function, so that autograd can judge them."""

    @staticmethod
    def forward(ctx, flat, x, mlp):  # pyright: ignore[reportIncompatibleMethodOverride]
        out, layer_inputs = mlp.forward(flat, x)
        ctx.save_for_backward(flat, *layer_inputs)
        ctx.mlp, ctx.x_shape = mlp, x.shape
        return out

    @staticmethod
    def backward(ctx, *grads):
        flat, *layer_inputs = ctx.saved_tensors
        grad_flat = torch.zeros_like(flat)
        grad_x = ctx.mlp.backward(flat, layer_inputs, grads[0], grad_flat, need_input=True)
        return grad_flat, grad_x.sum_to_size(ctx.x_shape), None


def by_hand(mlp, flat, x):
    return ByHand.apply(flat, x, mlp)


def by_autograd(mlp, flat, x):
    return mlp(flat, x)


WAYS = pytest.mark.parametrize("way", [by_hand, by_autograd])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def inputs(mlp, lead, x_lead, batch=5, dtype=torch.float64):
    flat = mlp.init(lead, generator()).to(dtype).requires_grad_()
    x = torch.randn(*x_lead, batch, mlp.sizes[0], generator=generator(1), dtype=dtype).requires_grad_()
    return flat, x


def test_one_tiny_network_by_hand():
    mlp = StackedMLP((2, 2, 1))
    flat = torch.zeros(1, mlp.num_parameters)
    (w1, b1), (w2, b2) = mlp.layers(flat)
    w1[0] = torch.tensor([[1.0, -1.0], [2.0, 0.5]])  # (in, out)
    b1[0] = torch.tensor([[0.5, -1.0]])
    w2[0] = torch.tensor([[3.0], [-4.0]])
    b2[0] = 0.25
    # x = (1, 2): hidden = relu(1·1 + 2·2 + 0.5, 1·(-1) + 2·0.5 - 1) = relu(5.5, -1) = (5.5, 0)
    #   out = 3·5.5 + 0.25 = 16.75
    # x = (-4, 0): hidden = relu(-3.5, 3) = (0, 3); out = -4·3 + 0.25 = -11.75: the output layer has no ReLU
    x = torch.tensor([[[1.0, 2.0], [-4.0, 0.0]]])
    assert mlp(flat, x).tolist() == [[[16.75], [-11.75]]]
    assert mlp.plain(flat, x).tolist() == [[[16.75], [-11.75]]]


@pytest.mark.parametrize(("lead", "x_lead"), SHAPES)
@pytest.mark.parametrize("sizes", [(3, 2), (3, 8, 2), (5, 17, 16, 1)])
@WAYS
def test_forward_and_both_gradients_equal_the_plain_twin(way, sizes, lead, x_lead):
    mlp = StackedMLP(sizes)
    flat, x = inputs(mlp, lead, x_lead)
    weight = torch.randn(*lead, 5, sizes[-1], generator=generator(2), dtype=torch.float64)
    ours, twin = way(mlp, flat, x), mlp.plain(flat, x)
    assert ours.shape == (*lead, 5, sizes[-1])
    torch.testing.assert_close(ours, twin, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weight).sum(), (flat, x)),
        torch.autograd.grad((twin * weight).sum(), (flat, x)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("lead", "x_lead"), [((), ()), ((2,), ()), ((2, 3), ()), ((2, 3), (3,))])
@WAYS
def test_an_input_with_fewer_axes_is_shared_by_all_networks(way, lead, x_lead):
    mlp = StackedMLP((3, 4, 2))
    flat, x = inputs(mlp, lead, x_lead)
    ours, twin = way(mlp, flat, x), mlp.plain(flat, x)
    torch.testing.assert_close(ours, twin, rtol=1e-12, atol=1e-12)
    (mine,) = torch.autograd.grad(ours.square().sum(), x)
    (theirs,) = torch.autograd.grad(twin.square().sum(), x)
    assert mine.shape == x.shape
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_a_run_of_the_parameters_is_a_stack_too():
    mlp = StackedMLP((3, 4, 2))
    flat, x = mlp.init((3, 2), generator()), torch.randn(2, 5, 3, generator=generator(1))
    for run in range(3):
        torch.testing.assert_close(mlp(flat[run], x), mlp.plain(flat[run].clone(), x))


def test_parameters_that_are_not_contiguous_are_refused_instead_of_misread():
    mlp = StackedMLP((3, 4, 2))
    flat, x = mlp.init((3, 2), generator()), torch.randn(1, 1, 5, 3)
    for part in (flat[:, 1:], flat.transpose(0, 1), flat[::2], flat[:1].expand(3, 2, -1)):
        with pytest.raises(ValueError, match="parameters must be contiguous"):
            mlp(part, x)
        torch.testing.assert_close(mlp(part.contiguous(), x), mlp.plain(part, x))


@pytest.mark.parametrize("x_lead", [(2, 2), (2, 1)])
@WAYS
def test_gradients_agree_with_finite_differences(way, x_lead):
    mlp = StackedMLP((2, 3, 1))
    flat, x = inputs(mlp, (2, 2), x_lead, batch=3)
    assert torch.autograd.gradcheck(lambda f, v: way(mlp, f, v), (flat, x))


def test_only_the_gradient_that_is_asked_for_is_given():
    mlp = StackedMLP((2, 3, 1))
    flat, x = (tensor.detach() for tensor in inputs(mlp, (2,), (2,)))
    out, layer_inputs = mlp.forward(flat, x)
    both = torch.zeros_like(flat)
    grad_x = mlp.backward(flat, layer_inputs, torch.ones_like(out), both, need_input=True)
    only = torch.zeros_like(flat)
    assert mlp.backward(flat, layer_inputs, torch.ones_like(out), only) is None
    assert torch.equal(only, both)
    only_x = mlp.backward(flat, layer_inputs, torch.ones_like(out), need_input=True)
    assert grad_x is not None
    assert only_x is not None
    assert torch.equal(only_x, grad_x)


def test_a_gradient_overwrites_the_last_one_and_leaves_parameters_and_inputs_alone():
    mlp = StackedMLP((2, 3, 1))
    flat, x = (tensor.detach() for tensor in inputs(mlp, (2,), (2,)))
    flat_before, x_before = flat.clone(), x.clone()
    out, layer_inputs = mlp.forward(flat, x)
    gradient = torch.zeros_like(flat)
    mlp.backward(flat, layer_inputs, torch.ones_like(out), gradient)
    first = gradient.clone()
    mlp.backward(flat, layer_inputs, torch.ones_like(out), gradient)
    assert torch.equal(gradient, first)
    assert torch.equal(flat, flat_before)
    assert torch.equal(x, x_before)


@WAYS
def test_one_runs_parameters_and_inputs_touch_no_other_run(way):
    mlp = StackedMLP((4, 32, 32, 2))
    flat = mlp.init((3, 2), generator())
    x = torch.randn(3, 1, 16, 4, generator=generator(1))
    other_flat, other_x = flat.clone(), x.clone()
    other_flat[1] = mlp.init((2,), generator(7))
    other_x[1] = torch.randn(1, 16, 4, generator=generator(8))

    def run(f, v):
        f, v = f.clone().requires_grad_(), v.clone().requires_grad_()
        out = way(mlp, f, v)
        return out.detach(), *torch.autograd.grad(out.square().sum(), (f, v))

    for before, after in zip(run(flat, x), run(other_flat, other_x), strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not torch.equal(before[1], after[1])


def test_stacked_networks_equal_single_ones():
    mlp = StackedMLP((4, 16, 2))
    flat = mlp.init((3, 2), generator())
    x = torch.randn(3, 2, 8, 4, generator=generator(1))
    out = mlp(flat, x)
    for run in range(3):
        for member in range(2):
            torch.testing.assert_close(out[run, member], mlp.plain(flat[run, member], x[run, member]))


def test_fresh_parameters_fill_the_bounds_of_each_layer_evenly():
    mlp = StackedMLP((4, 64, 9))
    flat = mlp.init((50, 2), generator())
    assert flat.shape == (50, 2, mlp.num_parameters)
    for (weight, bias), fan_in in zip(mlp.slots, (4, 64), strict=True):
        bound = 1 / math.sqrt(fan_in)
        for part in (flat[..., weight], flat[..., bias]):
            assert part.abs().max() <= bound
            assert part.abs().max() > 0.98 * bound
            # a uniform number in ±b has deviation b/sqrt(3)
            assert part.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
            assert abs(part.mean()) < 0.06 * bound


def test_every_network_starts_different_and_the_seed_decides():
    mlp = StackedMLP((4, 8, 1))
    flat = mlp.init((2, 3), generator())
    nets = flat.view(6, -1)
    assert len({tuple(net.tolist()) for net in nets}) == 6
    assert torch.equal(flat, mlp.init((2, 3), generator()))
    assert not torch.equal(flat, mlp.init((2, 3), generator(1)))


@WAYS
def test_slots_do_not_overlap_and_padding_gets_no_gradient(way):
    mlp = StackedMLP((3, 5, 2))
    taken = torch.zeros(mlp.num_parameters, dtype=torch.int64)
    for pair in mlp.slots:
        for slot in pair:
            taken[slot] += 1
            assert slot.start % 16 == 0
    assert taken.max() == 1
    assert int(taken.sum()) == 3 * 5 + 5 + 5 * 2 + 2
    flat, x = inputs(mlp, (2,), (2,))
    (gradient,) = torch.autograd.grad(way(mlp, flat, x).square().sum(), flat)
    assert not gradient[:, taken == 0].any()
    assert not flat[:, taken == 0].any()


@pytest.mark.parametrize("sizes", [(), (4,), (4, 0), (0, 4), (4, -1, 1)])
def test_bad_sizes_are_refused_in_words(sizes):
    with pytest.raises(ValueError, match="sizes needs at least an input and an output width >= 1, got"):
        StackedMLP(sizes)

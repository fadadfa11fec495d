"""Stacked multilayer perceptrons: every (run, member) network in one flat tensor, one matrix product a layer.

A learner with R runs and M ensemble members holds ``flat`` of shape (R, M, parameters). Weights are views of
it, so the optimiser, the target update and the checkpoint each deal with one tensor, and the gradient arrives
as one tensor of the same shape.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

ALIGN = 16  # floats; keeps each weight matrix on a 64-byte boundary, which the matrix units want


class StackedMLP:
    """The shape of a stack of ReLU networks; the parameters are passed in as one tensor.

    Args:
        sizes: Layer widths, input first, output last, e.g. ``(4, 256, 256, 1)``.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"mlp: sizes needs at least an input and an output width >= 1, got {list(sizes)}")
        self.sizes = tuple(sizes)
        self.slots: list[tuple[slice, slice]] = []
        offset = 0
        for fan_in, fan_out in zip(self.sizes[:-1], self.sizes[1:], strict=True):
            weight = slice(offset, offset + fan_in * fan_out)
            bias = slice(_aligned(weight.stop), _aligned(weight.stop) + fan_out)
            self.slots.append((weight, bias))
            offset = _aligned(bias.stop)
        self.num_parameters = offset

    def init(self, lead: Sequence[int], generator: torch.Generator) -> Float[Tensor, "*lead parameter"]:
        """Fresh parameters: uniform in ±1/sqrt(fan_in), the default of ``torch.nn.Linear``."""
        flat = torch.zeros(*lead, self.num_parameters, device=generator.device)
        for (weight, bias), fan_in in zip(self.slots, self.sizes, strict=False):
            bound = 1 / math.sqrt(fan_in)
            for part in (weight, bias):
                flat[..., part] = torch.empty_like(flat[..., part]).uniform_(-bound, bound, generator=generator)
        return flat

    def layers(self, flat: Float[Tensor, "net parameter"]) -> list[tuple[Tensor, Tensor]]:
        """Views of the weights (net, in, out) and biases (net, 1, out) of each layer."""
        return [
            (flat[:, weight].unflatten(1, (fan_in, fan_out)), flat[:, None, bias])
            for (weight, bias), fan_in, fan_out in zip(self.slots, self.sizes, self.sizes[1:], strict=False)
        ]

    def __call__(
        self, flat: Float[Tensor, "*lead parameter"], x: Float[Tensor, "*#lead batch in"]
    ) -> Float[Tensor, "*lead batch out"]:
        """Run each network on its own batch; an axis of length 1 in ``x`` is shared by all networks of it."""
        return _StackedForward.apply(flat, x, self)  # type: ignore[no-any-return]

    def plain(self, flat: Float[Tensor, "*lead parameter"], x: Float[Tensor, "*#lead batch in"]) -> Tensor:
        """The same function by ordinary differentiable operations: the twin that tests hold ``__call__`` to."""
        lead = flat.shape[:-1]
        h = x.expand(*lead, *x.shape[-2:])
        for i, ((weight, bias), fan_in) in enumerate(zip(self.slots, self.sizes, strict=False)):
            h = h @ flat[..., weight].unflatten(-1, (fan_in, -1)) + flat[..., None, bias]
            h = h.relu() if i < len(self.slots) - 1 else h
        return h


def _aligned(offset: int) -> int:
    return -(-offset // ALIGN) * ALIGN


class _StackedForward(torch.autograd.Function):
    """Backward by hand: the gradient of all parameters is written straight into one flat tensor."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, x: Tensor, mlp: StackedMLP) -> Tensor:  # noqa: ANN401
        lead = flat.shape[:-1]
        h = x.expand(*lead, *x.shape[-2:]).reshape(-1, *x.shape[-2:])
        inputs = []
        layers = mlp.layers(flat.reshape(-1, mlp.num_parameters))
        for i, (weight, bias) in enumerate(layers):
            inputs.append(h)
            h = torch.baddbmm(bias, h, weight)
            if i < len(layers) - 1:
                h = h.relu_()
        ctx.save_for_backward(flat, *inputs)
        ctx.mlp, ctx.x_shape = mlp, x.shape
        return h.unflatten(0, lead)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # noqa: ANN401
        flat, *inputs = ctx.saved_tensors
        need_flat, need_x, _ = ctx.needs_input_grad
        mlp: StackedMLP = ctx.mlp
        grad = grad_outputs[0].reshape(-1, *grad_outputs[0].shape[-2:])
        layers = mlp.layers(flat.reshape(-1, mlp.num_parameters))
        grad_flat = torch.zeros_like(flat) if need_flat else None
        parts = mlp.layers(grad_flat.view(-1, mlp.num_parameters)) if grad_flat is not None else None
        for i in reversed(range(len(layers))):
            if parts is not None:
                torch.bmm(inputs[i].mT, grad, out=parts[i][0])
                torch.sum(grad, dim=1, keepdim=True, out=parts[i][1])
            if i > 0:  # the input of layer i is the ReLU output of layer i - 1
                grad = torch.ops.aten.threshold_backward(torch.bmm(grad, layers[i][0].mT), inputs[i], 0)
            elif need_x:
                grad = torch.bmm(grad, layers[0][0].mT)
        grad_x = None
        if need_x:
            lead = flat.shape[:-1]
            grad_x = grad.unflatten(0, lead).sum_to_size(ctx.x_shape)
        return grad_flat, grad_x, None

"""Stacked multilayer perceptrons: every (run, member) network in one flat tensor, one matrix product a layer.

A learner with R runs and M ensemble members holds ``flat`` of shape (R, M, parameters). Weights are views of
it, so the optimiser, the target update and the checkpoint each deal with one tensor, and the gradient arrives
as one tensor of the same shape.
"""

import math
from collections.abc import Sequence

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

    def layers(self, flat: Float[Tensor, "*lead parameter"]) -> list[tuple[Tensor, Tensor]]:
        """Views of the weights (net, in, out) and biases (net, 1, out) of each layer; ``flat`` is contiguous.

        Raises:
            ValueError: If ``flat`` is not contiguous: the views would show other networks.
        """
        if not flat.is_contiguous():
            raise ValueError("mlp: parameters must be contiguous; call .contiguous() on a part of them first")
        size, start = self.num_parameters, flat.storage_offset()
        nets = flat.numel() // size
        return [  # one operation a view: small networks on a CPU spend their time on such things
            (
                flat.as_strided((nets, fan_in, fan_out), (size, fan_out, 1), start + weight.start),
                flat.as_strided((nets, 1, fan_out), (size, fan_out, 1), start + bias.start),
            )
            for (weight, bias), fan_in, fan_out in zip(self.slots, self.sizes, self.sizes[1:], strict=False)
        ]

    def __call__(
        self, flat: Float[Tensor, "*lead parameter"], x: Float[Tensor, "*#lead batch in"]
    ) -> Float[Tensor, "*lead batch out"]:
        """Run each network on its own batch; an axis of length 1 in ``x`` is shared by all networks of it."""
        return self.forward(flat, x)[0]

    def forward(
        self, flat: Float[Tensor, "*lead parameter"], x: Float[Tensor, "*#lead batch in"]
    ) -> tuple[Float[Tensor, "*lead batch out"], list[Tensor]]:
        """Like ``__call__``, and the inputs of every layer, which ``backward`` wants."""
        lead = flat.shape[:-1]
        h = x.expand(*lead, *x.shape[-2:]).reshape(-1, *x.shape[-2:])
        inputs = []
        layers = self.layers(flat)
        for weight, bias in layers[:-1]:
            inputs.append(h)
            h = torch.baddbmm(bias, h, weight).relu_()
        inputs.append(h)
        weight, bias = layers[-1]
        out = torch.baddbmm(bias, h, weight)
        return out.view(*lead, *out.shape[1:]), inputs

    def backward(
        self,
        flat: Float[Tensor, "*lead parameter"],
        inputs: list[Tensor],
        grad_out: Float[Tensor, "*lead batch out"],
        grad_flat: Float[Tensor, "*lead parameter"] | None = None,
        need_input: bool = False,
    ) -> Float[Tensor, "*lead batch in"] | None:
        """Gradients by hand: an update is some sixty small operations, and autograd would double that.

        Args:
            flat: Parameters, as given to ``forward``.
            inputs: Second result of ``forward``.
            grad_out: Gradient of the loss by the outputs.
            grad_flat: Where the gradient by the parameters is written, if wanted; padding is left alone.
            need_input: Whether the gradient by the input is wanted.

        Returns:
            The gradient by the input of each network, or None.
        """
        layers = self.layers(flat)
        parts = self.layers(grad_flat) if grad_flat is not None else None
        grad = grad_out.reshape(-1, *grad_out.shape[-2:])
        for i in reversed(range(len(layers))):
            if parts is not None:
                torch.bmm(inputs[i].mT, grad, out=parts[i][0])
                torch.sum(grad, dim=1, keepdim=True, out=parts[i][1])
            if i > 0:  # the input of layer i is the ReLU output of layer i - 1
                grad = torch.ops.aten.threshold_backward(torch.bmm(grad, layers[i][0].mT), inputs[i], 0)
            elif need_input:
                grad = torch.bmm(grad, layers[0][0].mT)
                return grad.view(*flat.shape[:-1], *grad.shape[1:])
        return None

    def plain(self, flat: Float[Tensor, "*lead parameter"], x: Float[Tensor, "*#lead batch in"]) -> Tensor:
        """The same function by ordinary differentiable operations: the twin that tests hold the rest to."""
        lead = flat.shape[:-1]
        h = x.expand(*lead, *x.shape[-2:])
        for i, ((weight, bias), fan_in) in enumerate(zip(self.slots, self.sizes, strict=False)):
            h = h @ flat[..., weight].unflatten(-1, (fan_in, -1)) + flat[..., None, bias]
            h = h.relu() if i < len(self.slots) - 1 else h
        return h


def _aligned(offset: int) -> int:
    return -(-offset // ALIGN) * ALIGN

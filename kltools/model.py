"""The settings of a run, and the pretrained encoder with a new head that it starts from."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from kltools import tiers


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on besides its rows and its encoder.

    ``warmup`` is a share of all steps; ``patience`` the number of epochs without a better
    validation loss that ends the training; ``freeze`` is explained at `freeze`; ``precision`` is
    ``"auto"`` (bf16 on a GPU that has it, else fp32), ``"fp32"``, ``"bf16"`` or ``"fp64"``;
    ``compile`` is explained at `compile_layers`.
    """

    epochs: int = 2
    batch_size: int = 32
    lr: float = 1e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    max_length: int = 64
    dropout: float = 0.0
    freeze: str = "none"
    patience: int = 1
    precision: str = "auto"
    compile: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "fp32", "bf16", "fp64"):
            raise ValueError(
                f"precision: expected auto, fp32, bf16 or fp64, got {self.precision!r}"
            )
        for name in ("epochs", "batch_size", "patience", "lr", "clip"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")


def defaults() -> tuple[Config, dict[str, Any]]:
    """The settings and the split sizes of the tier in use (`tiers.tier`)."""
    if tiers.tier() == "cpu":
        return Config(), {"train": 1200, "validation": 400, "test": 1000}
    config = Config(epochs=3, lr=2e-5, max_length=128, dropout=0.1)
    return config, {"train": None, "validation": 2000, "test": None}


@contextlib.contextmanager
def no_widget_warning() -> Iterator[None]:
    """Import what imports tqdm.auto, which warns in a notebook without ipywidgets."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="IProgress not found")
        yield


def load_model(config: Config | None = None, *, name: str | None = None, labels: int = 2) -> Any:
    """The tier's encoder with a new classification head, and its tokenizer.

    Weights that the checkpoint lacks (the head) are drawn by NumPy in float64 from
    ``config.seed``, so they are the same on every CPU: N(0, ``initializer_range``²) for
    matrices, 0 for biases.

    Args:
        config: the run's settings (``seed``, ``dropout``, ``freeze``, ``precision`` matter here).
        name: a folder or a name on the hub instead of `tiers.encoder`.
        labels: number of classes.

    Returns:
        ``(model, tokenizer)``, the model in ``eval`` mode.

    Raises:
        TiersError: it cannot be loaded. In tier ``cpu`` the hub is never asked.
    """
    with no_widget_warning():
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from transformers.utils import logging

    config, name = config or Config(), name or tiers.encoder()
    local = {"local_files_only": tiers.tier() == "cpu"}
    drop = {k: config.dropout for k in ("hidden_dropout_prob", "attention_probs_dropout_prob")}
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # "newly initialized" weights are what we want here
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **local)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            name, num_labels=labels, output_loading_info=True, dtype=torch.float32, **drop, **local
        )
    except (OSError, ValueError) as e:
        raise tiers.hub_error(name, e) from e
    finally:
        logging.set_verbosity(level)
    rng, parameters = np.random.default_rng(config.seed), dict(model.named_parameters())
    with torch.no_grad():
        for key in sorted(report["missing_keys"]):
            p = parameters[key].zero_()
            if p.dim() > 1:
                drawn = model.config.initializer_range * rng.standard_normal(tuple(p.shape))
                p.copy_(torch.from_numpy(drawn))
    freeze(model, config.freeze)
    return (model.double() if config.precision == "fp64" else model), tokenizer


def freeze(model: Any, what: str) -> int:
    """Stop the gradient of a part of the model; returns the number of weights that still learn.

    ``what`` is ``"none"``, ``"embeddings"``, ``"lower-half"`` (embeddings and the lower half of
    the layers) or ``"all-but-head"`` (only the new classifier learns).
    """
    layers = range(model.config.num_hidden_layers // 2)
    parts = {
        "none": [],
        "embeddings": ["embeddings."],
        "lower-half": ["embeddings.", *(f"encoder.layer.{i}." for i in layers)],
        "all-but-head": [f"{model.base_model_prefix}."],
    }
    if what not in parts:
        raise ValueError(f"freeze: expected one of {', '.join(parts)}, got {what!r}")
    for name, p in model.named_parameters():
        p.requires_grad_(not any(part in name for part in parts[what]))
    return trained(model)


def trained(model: Any) -> int:
    """How many weights learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def compile_layers(model: Any) -> None:
    """Compile the model's Transformer layers with ``torch.compile``, once for all of them.

    Pays on a GPU after some thousand steps: half a minute of compilation against fewer, larger
    kernels. The lengths of batches stay dynamic.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.compile(dynamic=True)

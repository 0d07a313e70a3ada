"""What of a pretrained encoder learns: the methods of the chapter *Training fewer parameters*."""

import warnings
from typing import Any

import torch

from kltools.model import no_widget_warning

# Two learning rates for each method; the validation rows of a run choose one of them.
RATES: dict[str, tuple[float, ...]] = {
    "head": (3e-2, 1e-1),
    "last layer": (1e-4, 5e-4),
    "BitFit": (1e-3, 4e-3),
    "LoRA": (1e-3, 4e-3),
    "full": (5e-5, 2e-4),
}


def choose(model: Any, method: str, *, rank: int = 8, seed: int = 0) -> Any:
    """Let the weights of ``method`` learn and no others; the new head always learns.

    ``"head"``: nothing else. ``"last layer"``: the last layer and the pooler. ``"BitFit"``: every
    bias. ``"LoRA"``: matrices A and B of rank ``rank`` beside each query and value, α = 2·rank;
    A is drawn from ``seed``, B is 0. ``"full"``: all.

    Returns:
        The model, changed in place; for LoRA it is wrapped by `peft`.

    Raises:
        ValueError: ``method`` is none of `RATES`.
    """
    if method not in RATES:
        raise ValueError(f"method: expected one of {', '.join(RATES)}, got {method!r}")
    base, last = model.base_model_prefix, model.config.num_hidden_layers - 1
    starts = {"last layer": (f"{base}.encoder.layer.{last}.", f"{base}.pooler."), "full": ("",)}
    if method == "LoRA":
        model = _lora(model, rank, seed)
    for name, p in model.named_parameters():
        learns = "classifier." in name or name.startswith(starts.get(method, ()))
        learns |= method == "BitFit" and name.endswith(".bias")
        p.requires_grad_(learns or (method == "LoRA" and "lora_" in name))
    return model


def _lora(model: Any, rank: int, seed: int) -> Any:
    with no_widget_warning():
        from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["query", "value"])
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        torch.manual_seed(seed)
        return get_peft_model(model, config)


def trained(model: Any) -> int:
    """How many weights learn."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)

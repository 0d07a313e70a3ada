"""What of a pretrained encoder learns: the methods of the chapter *Training fewer parameters*."""

import dataclasses
import warnings
from collections.abc import Iterable
from typing import Any

import torch

from kltools import finetune
from kltools.model import no_widget_warning
from kltools.model import trained as trained

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


def settings(
    config: finetune.Config, sizes: dict[str, Any], device: str
) -> tuple[finetune.Config, dict[str, Any]]:
    """Those of `compare`: two epochs, and on ``"cpu"`` at most 600 rows in small batches."""
    if device == "cpu":
        most = {"train": 600, "validation": 200, "test": 600}
        sizes = {name: min(n, most[name]) for name, n in sizes.items()}
    size = 16 if device == "cpu" else 64
    return dataclasses.replace(config, epochs=2, patience=2, batch_size=size), sizes


def compare(
    parts: finetune.Splits, config: finetune.Config, seeds: Iterable[int]
) -> dict[str, Any]:
    """Fit each method once a seed, at one learning rate a method: the fields of a record.

    With the first seed a method tries both of its rates; the lower validation loss decides, and
    the test rows are not looked at before.
    """
    tokenizer = finetune.load_model(config)[1]
    pad, data, cut = tokenizer.pad_token_id, {}, {}
    for name in ("train", "validation", "test"):
        data[name], cut[name] = finetune.encode(getattr(parts, name), tokenizer, config.max_length)
    metrics: dict[str, list[float]] = {}
    rates = dict(RATES)
    for seed in seeds:
        for method, tried in rates.items():
            runs = []
            for lr in tried:
                one = dataclasses.replace(config, lr=lr, seed=seed)
                model = choose(finetune.load_model(one)[0], method, seed=seed)
                history = finetune.fit(model, data["train"], data["validation"], one, pad=pad)
                runs.append((min(history.validation_loss), lr, model))
            _, lr, model = min(runs, key=lambda run: run[:2])
            rates[method] = (lr,)
            test = finetune.evaluate(model, data["test"], pad=pad)
            for key in ("accuracy", "loss"):
                metrics.setdefault(f"{method} / {key}", []).append(test[key])
            metrics.setdefault(f"{method} / trained", []).append(trained(model))
            print(f"seed {seed}, {method}: lr {lr:g}, accuracy {test['accuracy']:.4f}", flush=True)
    drop = ("seed", "lr", "freeze")
    chosen = {k: v for k, v in dataclasses.asdict(config).items() if k not in drop}
    chosen |= {f"lr, {method}": lr for method, (lr,) in rates.items()}
    return {"config": chosen, "cut": cut, "metrics": metrics}

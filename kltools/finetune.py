"""Fine-tune a BERT encoder on labeled texts: batches, model, loop, evaluation.

The chapter *Fine-tuning BERT* and ``python -m kltools.finetune`` run these same functions, in
every tier. The loss is the forward divergence D(label‖model): for a label as a one-hot
distribution, the cross-entropy in nats. Sums and counts are carried, never means of means.
"""

import argparse
import contextlib
import dataclasses
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kltools import checkpoint, tiers
from kltools.model import Config, compile_layers, defaults, load_model, no_widget_warning
from kltools.model import freeze as freeze
from kltools.reduce import Mean
from kltools.replay import Replay, any_length, for_gpu
from kltools.reviews import (
    Splits,
    load_reviews,
    majority_baseline,
    split,
    tfidf_baseline,
)

Example = dict[str, Any]  # {"input_ids": list[int], "label": int}


# --- batches ------------------------------------------------------------------------------------


def encode(rows: Any, tokenizer: Any, max_length: int = 64) -> tuple[list[Example], int]:
    """Token ids and label of each row, and how many texts were cut to ``max_length`` tokens.

    A text that is too long loses its end; [CLS] and [SEP] stay.

    Raises:
        ValueError: ``max_length`` is more than the model has positions for.
    """
    most = tokenizer.model_max_length
    if not 2 < max_length <= most:
        raise ValueError(f"max_length: expected 3 … {most}, got {max_length}")
    full = tokenizer(list(rows["text"]), verbose=False)["input_ids"]
    ids = [x if len(x) <= max_length else x[: max_length - 1] + x[-1:] for x in full]
    data = [{"input_ids": x, "label": int(y)} for x, y in zip(ids, rows["label"])]
    return data, sum(len(x) > max_length for x in full)


def collate(batch: Sequence[Example], pad: int = 0) -> dict[str, Tensor]:
    """One batch of B rows, padded to its own longest row of T tokens.

    Returns:
        ``input_ids`` int64 [B, T]; ``attention_mask`` int64 [B, T] as the model wants it, 1 at
        tokens and 0 at padding; ``labels`` int64 [B].
    """
    lengths = [len(x["input_ids"]) for x in batch]
    longest = max(lengths)
    return {
        "input_ids": torch.tensor(
            [x["input_ids"] + [pad] * (longest - n) for x, n in zip(batch, lengths)]
        ),
        "attention_mask": torch.tensor([[1] * n + [0] * (longest - n) for n in lengths]),
        "labels": torch.tensor([x["label"] for x in batch]),
    }


def batches(
    lengths: Sequence[int], size: int, *, seed: int | None = None, window: int = 50
) -> list[list[int]]:
    """Row numbers of each batch, rows of like length together.

    With a seed: shuffle, sort each window of ``window`` batches by length, cut it into batches,
    shuffle the batches. Without: sort all by length (for evaluation).
    """
    n, rng = np.asarray(lengths), np.random.default_rng(seed)
    order = np.arange(len(n)) if seed is None else rng.permutation(len(n))
    step, out = len(n) or 1 if seed is None else window * size, []
    for start in range(0, len(n), step):
        part = order[start : start + step]
        part = part[np.argsort(n[part], kind="stable")]
        out += [part[i : i + size].tolist() for i in range(0, len(part), size)]
    return out if seed is None else [out[i] for i in rng.permutation(len(out))]


# --- loop ---------------------------------------------------------------------------------------


def divergence(logits: Tensor, labels: Tensor) -> tuple[Tensor, int]:
    """Sum over the rows of D(label‖model) in nats, and the number of rows.

    A label puts all its mass on one class. Its entropy is 0, so D is the cross-entropy
    −log q(label).
    """
    logq = torch.log_softmax(logits.float() if logits.dtype == torch.bfloat16 else logits, -1)
    return -logq.gather(-1, labels[:, None]).sum(), len(labels)


def schedule(step: int, total: int, warmup: int) -> float:
    """Factor on the learning rate: up to 1 in ``warmup`` steps, then linearly down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return max(0.0, (total - step) / max(1, total - warmup))


@dataclass
class History:
    """What `fit` saw: one entry a step in ``lr``, ``step_loss``, ``step_rows``; one an epoch else.

    Losses are means of D(label‖model) in nats. ``best_epoch`` counts from 0; −1 is "untrained".
    """

    lr: list[float] = field(default_factory=list)
    step_loss: list[float] = field(default_factory=list)
    step_rows: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    best_epoch: int = -1
    stopped_early: bool = False


def fit(
    model: Any,
    train: Sequence[Example],
    validation: Sequence[Example],
    config: Config,
    *,
    pad: int = 0,
    folder: Path | None = None,
) -> History:
    """Minimize the mean D(label‖model) over ``train``; keep the weights best on ``validation``.

    AdamW (no decay on biases and LayerNorm), linear warm-up and decay, clipped gradients, batches
    of like length. The model is changed in place and left in ``eval`` mode, with the weights of
    the epoch whose validation loss was lowest. On a GPU a step is recorded and replayed (`Replay`).

    With a ``folder`` each epoch ends with a checkpoint there, from which the same call goes on
    after an interruption, to the same weights bit for bit (on one machine with the same number of
    threads); and TensorBoard finds the curves there (``tensorboard --logdir folder``).

    Raises:
        FloatingPointError: a loss is not finite.
        ValueError: the checkpoint in ``folder`` is of another run, or damaged.
        OSError: a checkpoint cannot be written.
    """
    with no_widget_warning():
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from tqdm.auto import tqdm

    # emulated bf16, as on a T4, is slower than fp32
    bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    mixed = config.precision == "bf16" or (config.precision == "auto" and bf16)
    AcceleratorState._reset_state()  # or it keeps the precision of an earlier run
    log = {"log_with": "tensorboard", "project_dir": str(folder)} if folder else {}
    cpu = not torch.cuda.is_available()  # an Apple GPU has no float64
    accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if mixed else "no", **log)
    torch.manual_seed(config.seed)  # for dropout
    lengths = [len(x["input_ids"]) for x in train]
    seeds = [1000 * config.seed + epoch for epoch in range(config.epochs)]
    plan = [batches(lengths, config.batch_size, seed=seed) for seed in seeds]
    total = sum(map(len, plan))
    learn = [p for p in model.parameters() if p.requires_grad]
    matrices, vectors = [p for p in learn if p.dim() > 1], [p for p in learn if p.dim() <= 1]
    warmup, device = math.ceil(config.warmup * total), accelerator.device
    gpu = device.type == "cuda"
    plain = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=torch.tensor(config.lr, device=device) if gpu else config.lr,
        fused=True,
        capturable=gpu,
    )
    if config.compile:
        compile_layers(model)
    live, optimizer = accelerator.prepare(model, plain)

    def train_step(batch: dict[str, Tensor]) -> Tensor:
        inputs = dict(batch)
        labels = inputs.pop("labels")
        with any_length() if gpu else contextlib.nullcontext():
            loss, count = divergence(live(**inputs).logits, labels)
        accelerator.backward(loss / count)
        accelerator.clip_grad_norm_(learn, config.clip)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    take = Replay(train_step, device) if gpu else train_step
    history, best, first = History(), [p.detach().clone() for p in learn], 0
    if folder:
        run_id = checkpoint.fingerprint(dataclasses.asdict(config), train, validation, *best)
        accelerator.init_trackers("tensorboard")
        if state := checkpoint.load(folder, run_id):
            history, first = History(**state["history"]), state["epoch"] + 1
            _restore(learn, state["weights"])
            _restore(best, state["best"])
            optimizer.load_state_dict(state["optimizer"])
            for group in plain.param_groups if gpu else ():
                group["lr"] = group["lr"].to(device)
            _set_random_state(state["random"])
    shown = sys.stderr.isatty() or "COLAB_RELEASE_TAG" in os.environ
    bar = tqdm(total=total, desc="steps", disable=not shown, initial=len(history.lr))
    for epoch, rows_of in enumerate(plan):
        if epoch < first or history.stopped_early:
            continue
        live.train()
        sums = []
        for rows in rows_of:
            batch = collate([train[i] for i in rows], pad)
            history.lr.append(config.lr * schedule(len(history.lr), total, warmup))
            _set_rate(plain, history.lr[-1])
            sums.append(take(for_gpu(batch) if gpu else batch))
            bar.update()
        mean = Mean()
        for total_loss, rows in zip(torch.stack(sums).tolist(), rows_of):  # the only wait for a GPU
            mean.add(total_loss, len(rows))
            history.step_loss.append(total_loss / len(rows))
            history.step_rows.append(len(rows))
        seen = evaluate(live, validation, pad=pad)
        if not math.isfinite(mean.value + seen["loss"]):
            raise FloatingPointError(
                f"loss: expected a finite number, got {mean.value} in training and "
                f"{seen['loss']} in validation, epoch {epoch}; a lower lr than {config.lr} may help"
            )
        history.train_loss.append(mean.value)
        history.validation_loss.append(seen["loss"])
        history.validation_accuracy.append(seen["accuracy"])
        if seen["loss"] == min(history.validation_loss):
            history.best_epoch, best = epoch, [p.detach().clone() for p in learn]
        elif epoch - history.best_epoch >= config.patience:
            history.stopped_early = epoch + 1 < config.epochs
        if folder:
            steps = len(rows_of)
            for step in range(len(history.lr) - steps, len(history.lr)):
                values = {"loss/step": history.step_loss[step], "lr": history.lr[step]}
                accelerator.log(values, step=step)
            values = {"loss/train": mean.value, "loss/validation": seen["loss"]}
            accelerator.log(values | {"accuracy/validation": seen["accuracy"]}, step=epoch)
            state = {"history": dataclasses.asdict(history), "epoch": epoch, "best": best}
            state |= {"weights": [p.detach() for p in learn], "random": _random_state()}
            state["optimizer"] = optimizer.state_dict()
            checkpoint.save(folder, run_id, state)
        if history.stopped_early:
            break
    bar.close()
    accelerator.end_training()
    _restore(learn, best)
    model.eval()
    return history


def _set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):  # a graph holds its address
            group["lr"].fill_(value)
        else:
            group["lr"] = value


@torch.no_grad()
def _restore(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for t, v in zip(tensors, values, strict=True):
        t.copy_(v)


def _random_state() -> dict[str, Any]:
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    torch.cuda.set_rng_state_all(state["cuda"])


@torch.inference_mode()
def evaluate(
    model: Any, data: Sequence[Example], *, pad: int = 0, size: int = 64
) -> dict[str, Any]:
    """Loss and accuracy over all rows of ``data``, without dropout and without a graph.

    Returns:
        ``loss``: mean of D(label‖model) in nats; ``accuracy``; ``count``; ``predictions`` int64 [N]
        and ``probabilities`` float64 [N, labels], in the order of ``data``.
    """
    device, training = next(model.parameters()).device, model.training
    model.eval()
    parts, order = [], []
    gpu = device.type == "cuda"
    for rows in batches([len(x["input_ids"]) for x in data], size):
        batch = collate([data[i] for i in rows], pad)
        del batch["labels"]
        batch = for_gpu(batch) if gpu else batch
        with any_length() if gpu else contextlib.nullcontext():
            batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
            parts.append(model(**batch).logits.double())
        order += rows
    model.train(training)
    logits = torch.cat(parts).cpu()[np.argsort(order)]
    labels = torch.tensor([x["label"] for x in data])
    total, count = divergence(logits, labels)
    guess = logits.argmax(-1)
    return {
        "loss": float(total) / count,
        "accuracy": int((guess == labels).sum()) / count,
        "count": count,
        "predictions": guess.numpy(),
        "probabilities": torch.softmax(logits, -1).numpy(),
    }


# --- the whole run ------------------------------------------------------------------------------


def run(splits: Splits, config: Config, *, folder: Path | None = None) -> dict[str, Any]:
    """Load, fit and evaluate once: ``model``, ``tokenizer``, ``history``, ``test``, ``cut``.

    ``folder`` is for checkpoints and curves, see `fit`.
    """
    model, tokenizer = load_model(config)
    pad, data, cut = tokenizer.pad_token_id, {}, {}
    for name in ("train", "validation", "test"):
        data[name], cut[name] = encode(getattr(splits, name), tokenizer, config.max_length)
    history = fit(model, data["train"], data["validation"], config, pad=pad, folder=folder)
    test = evaluate(model, data["test"], pad=pad)
    return {"model": model, "tokenizer": tokenizer, "history": history, "test": test, "cut": cut}


def main(argv: list[str] | None = None) -> None:
    """The chapter's fine-tune from a shell: every setting of `Config` is an option."""
    config, sizes = defaults()
    parser = argparse.ArgumentParser(prog="python -m kltools.finetune", description=__doc__)
    parser.add_argument("--kind", choices=list(tiers.EMBEDDED), default="short")
    parser.add_argument("--csv", help="a file of your own with columns text and label")
    parser.add_argument("--folder", type=Path, help="checkpoints and TensorBoard curves go here")
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size, help=f"rows (default {size})")
    for f in dataclasses.fields(Config):
        value = getattr(config, f.name)
        option = f"--{f.name.replace('_', '-')}"
        kind = {"action": argparse.BooleanOptionalAction} if f.type is bool else {"type": f.type}
        parser.add_argument(option, **kind, default=value, help=f"default {value}")
    args = parser.parse_args(argv)
    config = Config(**{f.name: getattr(args, f.name) for f in dataclasses.fields(Config)})
    rows = load_reviews(args.kind, args.csv)
    parts = split(rows, train=args.train, validation=args.validation, test=args.test)
    print(f"rows: {len(parts.train)} train, {len(parts.validation)} validation, ", end="")
    print(f"{len(parts.test)} test; dropped: {parts.dropped}")
    done = run(parts, config, folder=args.folder)
    h = done["history"]
    for i, (t, v, a) in enumerate(zip(h.train_loss, h.validation_loss, h.validation_accuracy)):
        print(f"epoch {i}: train {t:.4f}, validation {v:.4f} nats, accuracy {a:.3f}")
    print(f"best epoch: {h.best_epoch}; texts cut: {done['cut']}")
    print(f"test: {done['test']['loss']:.4f} nats, accuracy {done['test']['accuracy']:.3f}")
    tfidf = tfidf_baseline(parts.train, parts.validation, parts.test)
    print(f"TF-IDF: {tfidf['loss']:.4f} nats, accuracy {tfidf['accuracy']:.3f}")
    print(f"majority: accuracy {majority_baseline(parts.train, parts.test)['accuracy']:.3f}")


if __name__ == "__main__":
    try:
        main()
    except (tiers.TiersError, ValueError, OSError) as e:
        raise SystemExit(f"error: {e}") from e

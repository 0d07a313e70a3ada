"""From a slow loop to a fast one, one change at a time: what the chapter *Making it fast* records.

``python -m kltools.bench steps`` times each entry of `STEPS` on the same rows. The model is a BERT
with random weights (throughput does not depend on their values), the rows are random words with
given lengths. A rate counts sequences; utilization counts the FLOPs that true lengths need, over
the rate of a large matrix product measured in the same run (Chowdhery et al. 2022, appendix B).
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kltools.finetune import Example, batches, collate, divergence
from kltools.model import compile_layers
from kltools.replay import Batch, Replay, any_length, for_gpu


@dataclass(frozen=True)
class Step:
    """The settings of a loop; each step of `STEPS` changes one of those before it."""

    padding: str = "512"  # "512", "longest" of a batch, "packed": one row, no padding
    buckets: bool = False  # rows of like length in a batch
    precision: str = "fp32"  # "fp32", "tf32", "bf16" (autocast)
    any_length: bool = False  # attention kernels that need no plan for a new shape
    fused: bool = False  # AdamW in one kernel
    wait: bool = True  # for the loss of each step
    graphs: bool = False  # `Replay`
    compiled: bool = False  # `compile_layers`
    batch: int = 32


def _steps() -> dict[str, Step]:
    changes: dict[str, dict[str, Any]] = {
        "padded to 512": {},
        "dynamic padding": {"padding": "longest"},
        "length buckets": {"buckets": True},
        "tf32": {"precision": "tf32"},
        "bf16": {"precision": "bf16"},
        "no cuDNN plans": {"any_length": True},
        "fused AdamW": {"fused": True},
        "no waiting": {"wait": False},
        "CUDA graphs": {"graphs": True},
        "compiled": {"compiled": True},
        "batch 128": {"batch": 128},
        "packed": {"padding": "packed", "buckets": False},
    }
    steps = itertools.accumulate(
        changes.values(), lambda s, c: dataclasses.replace(s, **c), initial=Step()
    )
    return dict(zip(changes, itertools.islice(steps, 1, None)))


STEPS = _steps()
ON_CPU = ["padded to 512", "dynamic padding", "length buckets", "fused AdamW", "packed"]


def cases(device: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What is recorded as ``config``, and the cases: lengths like SST-2's, and 128 tokens each."""
    gpu = device == "cuda"
    size = {"layers": 12, "width": 768} if gpu else {"layers": 4, "width": 256}
    config = size | {"rows": 67_349 if gpu else 640, "device": device} | _ceilings(device)
    short, long = list(STEPS), ["no waiting", "CUDA graphs", "compiled", "batch 128"]
    if not gpu:
        short, long = ON_CPU, ON_CPU[2:4]
    return config, {
        "phrases": config | {"length": 0, "names": short},
        "128 tokens": config | {"length": 128, "names": long},
    }


def lengths(n: int, fixed: int = 0) -> np.ndarray:
    """Token counts of ``n`` texts like those of SST-2 (mean 13, median 10, at most 66)."""
    if fixed:
        return np.full(n, fixed)
    words = np.random.default_rng(0).lognormal(np.log(8.2), 0.78, n)
    return np.clip(np.rint(2 + words), 3, 66).astype(int)


def useful_flops(n: np.ndarray, layers: int, width: int) -> float:
    """FLOPs of forward and backward pass of an encoder (inner width 4 × ``width``) over the texts.

    A token meets 12 width² weights a layer, and 2 · length · width products for scores and for
    averages; a product is 2 FLOPs, and the backward pass takes twice the forward's.
    """
    n = n.astype(float)
    return float(3 * layers * (24 * width**2 * n + 4 * width * n**2).sum())


def _ceilings(device: str) -> dict[str, float]:
    """TFLOP/s of a large matrix product (bf16 on a GPU, else fp32), GB/s of a large copy."""
    n, dtype = (8192, torch.bfloat16) if device == "cuda" else (1024, torch.float32)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    x = torch.empty(2**30 if device == "cuda" else 2**26, dtype=torch.uint8, device=device)
    y = torch.zeros_like(x)
    seconds = [
        min(_timed(f, device) for _ in range(10)) for f in (lambda: a @ b, lambda: x.copy_(y))
    ]
    return {
        "matrix_tflops": 2 * n**3 / seconds[0] / 1e12,
        "copy_gbs": 2 * len(x) / seconds[1] / 1e9,
    }


def _timed(f: Any, device: str) -> float:
    f()
    _wait(device)
    started = time.perf_counter()
    f()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def pack(rows: list[Example]) -> Batch:
    """All texts of a batch in one row of T tokens (filled up to a multiple of 128).

    Returns:
        ``input_ids`` and ``position_ids`` int64 [1, T], ``text`` int64 [T] (which text a token is
        of; the filling is a text of its own), ``starts`` int64 [B], ``labels`` int64 [B].
    """
    n = [len(x["input_ids"]) for x in rows]
    n.append(-sum(n) % 128)
    ids = list(itertools.chain.from_iterable(x["input_ids"] for x in rows)) + [0] * n[-1]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([[i for k in n for i in range(k)]]),
        "text": torch.repeat_interleave(torch.arange(len(n)), torch.tensor(n)),
        "starts": torch.tensor(list(itertools.accumulate(n[:-2], initial=0))),
        "labels": torch.tensor([x["label"] for x in rows]),
    }


def packed_logits(model: Any, batch: Batch) -> Tensor:
    """Logits [B, labels] of `pack`'s batch: tokens attend only to those of their own text."""
    bert, text = model.bert, batch["text"]
    x = bert.embeddings(input_ids=batch["input_ids"], position_ids=batch["position_ids"])
    own = (text[:, None] == text[None, :])[None, None]
    for layer in bert.encoder.layer:
        x = layer(x, own)
    return model.classifier(model.dropout(bert.pooler(x[0, batch["starts"], None])))


class Session:
    """A model, its rows and its optimizer under one `Step`; `epoch` trains and yields sizes."""

    def __init__(self, step: Step, case: dict[str, Any]) -> None:
        from transformers import BertConfig, BertForSequenceClassification

        self.step, self.device, width = step, torch.device(case["device"]), case["width"]
        torch.manual_seed(0)
        shape = {"num_hidden_layers": case["layers"], "hidden_size": width}
        shape |= {"num_attention_heads": width // 64, "intermediate_size": 4 * width}
        make: Any = BertForSequenceClassification
        with self.device:
            self.model = make(BertConfig(**shape)).train()
        self.fixed = case["length"]
        self.n = lengths(case["rows"], self.fixed)
        words = np.random.default_rng(1).integers(1000, 30_000, (case["rows"], self.n.max()))
        self.rows: list[Example] = [
            {"input_ids": w[:k].tolist(), "label": i % 2}
            for i, (w, k) in enumerate(zip(words, self.n))
        ]
        self.seed, self.graphs = 0, step.graphs and self.device.type == "cuda"
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=torch.tensor(1e-5, device=self.device) if self.graphs else 1e-5,
            fused=step.fused or None,
            capturable=self.graphs,
        )
        if step.compiled and self.graphs:
            compile_layers(self.model)
        self.take = Replay(self.train_step, self.device) if self.graphs else self.train_step

    def train_step(self, batch: Batch) -> Tensor:
        """Forward, backward, clipping and update; the sum of the losses in nats."""
        inputs = {k: x.to(self.device, non_blocking=not self.step.wait) for k, x in batch.items()}
        gpu = self.device.type == "cuda"
        half = torch.autocast(
            self.device.type, torch.bfloat16, enabled=gpu and self.step.precision == "bf16"
        )
        with half, any_length() if gpu and self.step.any_length else contextlib.nullcontext():
            if self.step.padding == "packed":
                logits = packed_logits(self.model, inputs)
                labels = inputs["labels"]
            else:
                labels = inputs.pop("labels")
                logits = self.model(**inputs).logits
        loss, count = divergence(logits, labels)
        (loss / count).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def plan(self) -> list[list[int]]:
        """The rows of each whole batch of the next epoch."""
        self.seed += 1
        size = self.step.batch
        order = np.random.default_rng(self.seed).permutation(len(self.rows)).tolist()
        cut = [order[i : i + size] for i in range(0, len(order), size)]
        plan = batches(self.n.tolist(), size, seed=self.seed) if self.step.buckets else cut
        return [rows for rows in plan if len(rows) == size]

    def batch(self, rows: list[int]) -> Batch:
        """The tensors of these rows, padded or packed as the step wants it, in the CPU's memory."""
        chosen = [self.rows[i] for i in rows]
        if self.step.padding == "packed":
            batch = pack(chosen)
        else:
            batch = collate(chosen)
            if self.step.padding == "512":
                more = (0, 512 - batch["input_ids"].shape[1])
                for k in ("input_ids", "attention_mask"):
                    batch[k] = torch.nn.functional.pad(batch[k], more)
        return for_gpu(batch) if self.device.type == "cuda" and not self.step.wait else batch

    def epoch(self, seconds: float) -> Iterator[tuple[list[int], int]]:
        """Train for an epoch or ``seconds``; rows and processed tokens of each step."""
        started = time.perf_counter()
        for rows in self.plan():
            batch = self.batch(rows)
            tokens = batch["input_ids"].numel()
            loss = self.take(batch)
            if self.step.wait:
                loss.item()
            yield rows, tokens
            if time.perf_counter() - started > seconds:
                return


@functools.cache
def _session(name: str, case: tuple[tuple[str, Any], ...]) -> Session:
    session = Session(STEPS[name], dict(case))
    warm = 15.0 if session.graphs and not session.fixed else 0.7  # many shapes to record, or one
    started = time.perf_counter()
    steps = sum(1 for _ in session.epoch(warm))
    print(f"{name}: {steps} steps in {time.perf_counter() - started:.1f} s first", file=sys.stderr)
    return session


def measure(name: str, case: dict[str, Any]) -> dict[str, float]:
    """Rate, seconds an epoch, utilization and padding, over some seconds or a whole epoch.

    With graphs also ``"replay ms"``, a replay of the last shape recorded, without the loop.
    """
    keys = ("layers", "width", "rows", "length", "device")
    session = _session(name, tuple((k, case[k]) for k in keys))
    torch.set_float32_matmul_precision("highest" if session.step.precision == "fp32" else "high")
    clock = time.perf_counter if case["device"] == "cuda" else time.process_time
    _wait(case["device"])
    limit = 5.0 if session.graphs and not session.fixed else 1.0
    if case["device"] == "cpu" and session.step.padding != "512":
        limit = math.inf  # a whole epoch: a second is one batch, long or short
    started = clock()
    done = list(session.epoch(limit))
    _wait(case["device"])
    seconds = clock() - started
    n = session.n[[i for rows, _ in done for i in rows]]
    alone = {"replay ms": session.take.milliseconds()} if isinstance(session.take, Replay) else {}
    return alone | {
        "rate": len(n) / seconds,
        "seconds": case["rows"] / len(n) * seconds,
        "mfu": useful_flops(n, case["layers"], case["width"])
        / seconds
        / (case["matrix_tflops"] * 1e12),
        "waste": sum(tokens for _, tokens in done) / float(n.sum()),
    }

"""Side by side, in one run: ``python -m kltools.bench divergence``, ``… finetune``, ``… steps``.

Implementations run one after another, round after round, on the same inputs; on a CPU each in a
process of its own. What counts are ratios; each is taken within a round, so that a slow minute of
the machine hits both sides. Time is CPU seconds without a GPU and seconds with one; peak memory is
what is used above the inputs. `kltools.record` says what the numbers came from.
"""

import argparse
import gc
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import time
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from kltools import machine, record, steps

Case = dict[str, Any]
Seen = Callable[..., dict[str, Any]]  # called after each epoch: evaluates, with the clock stopped
SHAPES = {  # tokens, vocabulary, width
    "cpu": {"N": 2048, "V": 128_256, "H": 256, "dtype": "float32", "device": "cpu"},
    "cuda": {"N": 8192, "V": 128_256, "H": 4096, "dtype": "bfloat16", "device": "cuda"},
}


# --- linear layer and divergence ----------------------------------------------------------------


def _products(h: Tensor, W: Tensor, t: Tensor, U: Tensor, direction: str) -> Tensor:
    """The four matrix products that no implementation can avoid, and nothing else."""
    chunk = 128 if h.device.type == "cpu" else 1024
    z, dW = h.new_empty(chunk, len(W)), torch.zeros_like(W)
    dh = torch.empty_like(h)
    with torch.no_grad():
        for i in range(0, len(h), chunk):
            s = slice(i, i + chunk)
            n = len(h[s])
            torch.mm(t[s], U.t(), out=z[:n])
            torch.mm(h[s], W.t(), out=z[:n])
            torch.mm(z[:n], W, out=dh[s])
            dW.addmm_(z[:n].t(), h[s])
    return torch.tensor(math.nan)


def _naive(h: Tensor, W: Tensor, t: Tensor, U: Tensor, direction: str) -> Tensor:
    """Whole logits, as one would write it."""
    logq = (h @ W.t()).float().log_softmax(-1)
    with torch.no_grad():
        logp = (t @ U.t()).float().log_softmax(-1)
    if direction == "forward":
        loss = F.kl_div(logq, logp, log_target=True, reduction="sum")
    else:
        logm = torch.logsumexp(torch.stack([logp, logq]), 0) - math.log(2)
        sides = (F.kl_div(logm, x, log_target=True, reduction="sum") for x in (logp, logq))
        loss = sum(sides, torch.zeros((), device=h.device)) / 2
    loss.backward()
    return loss


def _kltools(h: Tensor, W: Tensor, t: Tensor, U: Tensor, direction: str) -> Tensor:
    from kltools.gradients import fused_linear_divergence

    loss, _ = fused_linear_divergence(h, W, t, U, direction=direction)
    loss.backward()
    return loss


def _trl(h: Tensor, W: Tensor, t: Tensor, U: Tensor, direction: str) -> Tensor:
    from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

    beta = 0.0 if direction == "forward" else 0.5
    loss = ChunkedDivergenceFunction.apply(h, W, None, t, U, None, beta)[0].sum()
    loss.backward()
    return loss


def _liger(h: Tensor, W: Tensor, t: Tensor, U: Tensor, direction: str) -> Tensor:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    options = {"weight_hard_loss": 0.0, "weight_soft_loss": 1.0, "compiled": h.is_cuda}
    beta = 0.0 if direction == "forward" else 0.5
    best = 128 if h.device.type == "cpu" else 1024  # of the chunk sizes tried on a CPU
    layer = LigerFusedLinearJSDLoss(beta=beta, chunk_size=best, **options)
    loss = layer(h, W, t, U, torch.zeros(len(h), dtype=torch.long, device=h.device)) * len(h)
    loss.backward()
    return loss


DIVERGENCES: dict[str, Callable[..., Tensor]] = {
    "matrix products": _products,
    "naive": _naive,
    "kltools": _kltools,
    "TRL": _trl,
    "Liger": _liger,
}


def _measure_divergence(name: str, case: Case) -> dict[str, float]:
    """Seconds, peak memory in MB and nats a token of forward and backward pass, once.

    On a GPU also the relative error of the output matrix's gradient against float32.
    """
    cuda = case["device"] == "cuda"
    torch.set_float32_matmul_precision("highest")
    dtype, g = getattr(torch, case["dtype"]), torch.Generator(case["device"]).manual_seed(0)
    draw = {"generator": g, "device": case["device"], "dtype": dtype}
    h, t = (torch.randn(case["N"], case["H"], **draw) for _ in range(2))
    W, U = (torch.randn(case["V"], case["H"], **draw) / case["H"] ** 0.5 for _ in range(2))
    h.requires_grad_(), W.requires_grad_()
    run = DIVERGENCES[name]
    if cuda:
        run(h, W, t, U, case["direction"])  # warm-up: compilation is no part of it
        h.grad = W.grad = None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, started = torch.cuda.memory_allocated(), time.perf_counter()
    else:
        small = [x.detach()[:16].requires_grad_(x.requires_grad) for x in (h, W, t, U)]
        run(*small, case["direction"])  # imports and first calls; too small to leave memory behind
        before = _memory("VmRSS", reset=True)
        started = time.process_time()
    value = run(h, W, t, U, case["direction"])
    if cuda:
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
        peak = torch.cuda.max_memory_allocated() - before
    else:
        seconds = time.process_time() - started
        peak = _memory("VmHWM") - before
    out = {"seconds": seconds, "peak_mb": peak / 1e6, "value": float(value.detach()) / case["N"]}
    if cuda and W.grad is not None:
        out["gradient error"] = _gradient_error(W.grad, (h, W, t, U), case["direction"])
    return out


def _gradient_error(grad: Tensor, inputs: tuple[Tensor, ...], direction: str) -> float:
    """Of the output matrix: ‖grad − G‖ / ‖G‖, with G from whole logits in float32, in parts."""
    h, W, t, U = (x.detach().float() for x in inputs)
    W.requires_grad_()
    for i in range(0, len(h), 1024):
        _naive(h[i : i + 1024], W, t[i : i + 1024], U, direction)
    assert W.grad is not None
    return float((grad - W.grad).norm() / W.grad.norm())


def _memory(field: str, reset: bool = False) -> int:
    """Bytes that Linux says this process uses (VmRSS) or used at most since the reset (VmHWM)."""
    if sys.platform != "linux":
        raise OSError(f"divergence: expected Linux or a GPU for peak memory, got {sys.platform}")
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(field))


# --- fine-tune ----------------------------------------------------------------------------------


def _articles(model: Any, tokenizer: Any, parts: Any, c: Any, seen: Seen) -> None:
    """The articles' loop, mended so that it runs: every text padded to 512 tokens, fp32."""
    from torch.utils.data import DataLoader, TensorDataset

    device = next(model.parameters()).device
    options = {"padding": "max_length", "truncation": True, "max_length": 512}
    inputs = tokenizer(list(parts.train["text"]), return_tensors="pt", **options)
    labels = torch.tensor(parts.train["label"].to_numpy())
    rows = TensorDataset(inputs["input_ids"], inputs["attention_mask"], labels)
    loader = DataLoader(rows, c.batch_size, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=c.lr)
    total = len(loader) * c.epochs
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (total - step) / total)
    model.train()
    for _ in range(c.epochs):
        for ids, mask, y in loader:
            optimizer.zero_grad()
            logits = model(ids.to(device), mask.to(device)).logits
            loss = F.cross_entropy(logits, y.to(device))
            loss.backward()
            optimizer.step()
            rate.step()
            loss.item()
        seen()


def _trainer(model: Any, tokenizer: Any, parts: Any, c: Any, seen: Seen) -> None:
    """HF Trainer with its best ordinary settings."""
    import tempfile

    import transformers as hf

    from kltools import finetune

    class AfterEpoch(hf.TrainerCallback):
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            seen()

    rows, _ = finetune.encode(parts.train, tokenizer, c.max_length)
    rows = [{"input_ids": x["input_ids"], "labels": x["label"]} for x in rows]
    alike: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}
    if hasattr(hf.TrainingArguments, "group_by_length"):  # its name in transformers 5.0
        alike = {"group_by_length": True}
    with tempfile.TemporaryDirectory() as folder:
        arguments = hf.TrainingArguments(
            output_dir=folder,
            num_train_epochs=c.epochs,
            per_device_train_batch_size=c.batch_size,
            learning_rate=c.lr,
            weight_decay=c.weight_decay,
            max_grad_norm=c.clip,
            warmup_steps=math.ceil(c.warmup * c.epochs * math.ceil(len(rows) / c.batch_size)),
            **alike,
            optim="adamw_torch_fused",
            bf16=torch.cuda.is_available(),
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=c.seed,
        )
        collator = hf.DataCollatorWithPadding(tokenizer)
        data: Any = {"train_dataset": rows, "data_collator": collator}
        hf.Trainer(model, arguments, **data, callbacks=[AfterEpoch()]).train()


def _own(model: Any, tokenizer: Any, parts: Any, c: Any, seen: Seen) -> None:
    from kltools import finetune

    rows, _ = finetune.encode(parts.train, tokenizer, c.max_length)
    with unittest.mock.patch.object(finetune, "evaluate", seen):  # after each epoch
        finetune.fit(model, rows, [], c, pad=tokenizer.pad_token_id)


LOOPS = {"articles' loop": _articles, "Trainer": _trainer, "kltools": _own}


def _measure_finetune(name: str, case: Case) -> dict[str, float]:
    """Seconds and sequences a second of a training of equal updates, and the accuracy after it.

    ``"seconds e"`` and ``"accuracy e"`` say the same after epoch e; evaluation is not timed.
    """
    from kltools import finetune

    cuda = torch.cuda.is_available()
    sizes = {"epochs": case["epochs"], "batch_size": case["batch"], "seed": case["round"]}
    config = finetune.Config(**sizes, patience=99)
    rows = {"train": case["rows"], "validation": 400, "test": 1000}
    parts = finetune.split(finetune.load_reviews(), **rows)
    model, tokenizer = finetune.load_model(config)
    model.to("cuda" if cuda else "cpu")
    test, _ = finetune.encode(parts.test, tokenizer, config.max_length)
    clock = time.perf_counter if cuda else time.process_time
    evaluate, out, started = finetune.evaluate, {"seconds": 0.0}, 0.0
    epochs = iter(range(1, config.epochs + 1))

    def seen(*_: Any, **__: Any) -> dict[str, Any]:
        nonlocal started
        if cuda:
            torch.cuda.synchronize()
        out["seconds"] += clock() - started
        result, epoch = evaluate(model, test, pad=tokenizer.pad_token_id), next(epochs)
        out[f"seconds {epoch}"], out[f"accuracy {epoch}"] = out["seconds"], result["accuracy"]
        started = clock()
        return result

    started = clock()
    LOOPS[name](model, tokenizer, parts, config, seen)
    out["rate"] = config.epochs * len(parts.train) / out["seconds"]
    out["accuracy"] = out[f"accuracy {config.epochs}"]
    return out


# --- rounds, table, record ----------------------------------------------------------------------

MEASURES: dict[str, Callable[[str, Case], dict[str, float]]]
MEASURES = {"divergence": _measure_divergence, "finetune": _measure_finetune}
MEASURES |= {"steps": steps.measure}


def _apart(what: str, name: str, case: Case) -> dict[str, float]:
    """One measurement; without a GPU in a process of its own, with one thread."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()
        return MEASURES[what](name, case)
    command = [sys.executable, "-m", "kltools.bench", "--one", json.dumps([what, name, case])]
    run = subprocess.run(
        command, capture_output=True, text=True, env={"OMP_NUM_THREADS": "1"} | os.environ
    )
    if run.returncode:
        raise RuntimeError(f"{name}: {run.stderr.strip().splitlines()[-1]}")
    return json.loads(run.stdout.splitlines()[-1])


def measure(
    what: str, cases: dict[str, Case], names: list[str], rounds: int
) -> Iterator[dict[str, list[float]]]:
    """After each round: ``"case / implementation / quantity"`` to one number for each so far."""
    out: dict[str, list[float]] = {}
    for i in range(rounds):
        for label, case in cases.items():
            for name in case.get("names", names):
                done = _apart(what, name, case | {"round": i})
                print(f"round {i}, {label}, {name}: {done}", file=sys.stderr, flush=True)
                for quantity, value in done.items():
                    out.setdefault(f"{label} / {name} / {quantity}", []).append(value)
        yield {k: v for k, v in out.items() if all(map(math.isfinite, v))}


def ratios(metrics: dict[str, list[float]], base: str, quantity: str) -> dict[str, list[float]]:
    """Of each case and implementation to ``base``, round by round, in ``quantity``."""
    out = {}
    for key, values in metrics.items():
        case, name, of = key.split(" / ")
        below = metrics.get(f"{case} / {base} / {quantity}")
        if of == quantity and below and name != base:
            out[f"{case} / {name} : {base} / {of}"] = [a / b for a, b in zip(values, below)]
    return out


def main(argv: list[str] | None = None) -> int:
    """Measure, write the record after each round, print the table of ratios."""
    parser = argparse.ArgumentParser(prog="python -m kltools.bench", description=__doc__)
    parser.add_argument("what", nargs="?", choices=list(MEASURES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, help="of finetune (default 160, on a GPU 4,000)")
    parser.add_argument("--out", type=Path, default=record.FOLDER, help="folder of the record")
    for size in ("N", "V", "H"):
        parser.add_argument(f"--{size}", type=int, help="of divergence, instead of the default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.one:
        what, name, case = json.loads(args.one)
        print(json.dumps(MEASURES[what](name, case)))
        return 0
    if args.what is None:
        parser.error(f"what: expected {', '.join(MEASURES)}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # as in `_apart`
    if args.what == "divergence":
        given = {k: getattr(args, k) for k in ("N", "V", "H") if getattr(args, k)}
        config = SHAPES[device] | given
        cases = {d: config | {"direction": d} for d in ("forward", "gjs")}
        there = {k: importlib.util.find_spec(p) is not None for k, p in machine.PEERS.items()}
        names = [n for n in DIVERGENCES if there.get(n, True)]
        for missing in (k for k, ok in there.items() if not ok):
            print(f"{missing}: not installed, left out (pip install {machine.PEERS[missing]})")
        pairs = [("naive", "seconds"), ("matrix products", "seconds"), ("naive", "peak_mb")]
    elif args.what == "finetune":
        rows = args.rows or {"cpu": 160, "cuda": 4000}[device]
        config = {"epochs": 3, "batch": 16, "rows": rows}
        cases, names = {"reviews": config}, list(LOOPS)
        pairs = [("articles' loop", "rate"), ("Trainer", "rate")]
        if device == "cuda":  # imports, CUDA and its libraries
            next(measure(args.what, {"warm-up": config | {"rows": 100}}, names, 1))
    else:
        config, cases = steps.cases(device)
        names = list(steps.STEPS)
        pairs = [(names[0], "rate")]
    for done, metrics in enumerate(measure(args.what, cases, names, args.rounds), 1):
        compared = {
            k: v for base, quantity in pairs for k, v in ratios(metrics, base, quantity).items()
        }
        path = record.save_bench(args.what, done, config, metrics, compared, args.out)
    for key, values in compared.items():
        print(
            f"{key:55} {statistics.median(values):7.3f}  ({min(values):.3f} to {max(values):.3f})"
        )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())

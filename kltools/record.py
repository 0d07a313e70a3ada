"""Recorded runs: ``python -m kltools.record NAME`` runs, and writes ``chapters/runs/NAME.json``.

A record says what was run, on what, and what came out, seed by seed. Only this program writes
one; `validate` refuses a record that lacks a field or whose means do not follow from its numbers.
"""

import argparse
import dataclasses
import datetime
import functools
import hashlib
import json
import math
import os
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kltools import machine, tiers

FOLDER = machine.ROOT / "chapters" / "runs"  # there when kltools runs from the book's repository
# What a record must have. A dict is checked key by key, {str: type} for any keys, [type] for a
# list of any length; `metrics`, `wall_s` and `cpu_s` have one entry a seed.
NUMBER = (int, float)
SCHEMA: dict[str, Any] = {
    "name": str,
    "command": str,
    "date": str,
    "commit": (str, type(None)),
    "device": {"kind": str, "name": str, "driver": str, "threads": int},
    "versions": {str: str},
    "config": {str: object},
    "model": {"name": str, "sha256": str, "weights": int},
    "data": {"name": str, "sha256": str, "rows": {str: int}, "dropped": {str: int}},
    "cut": {str: int},
    "seeds": [int],
    "metrics": {str: [NUMBER]},
    "summary": {str: {"mean": NUMBER, "sd": (*NUMBER, type(None))}},
    "baselines": {str: NUMBER},
    "wall_s": [NUMBER],
    "cpu_s": [NUMBER],
}
# What a record of `kltools.bench` has instead: one entry a round in `metrics` and `ratios`.
BENCH: dict[str, Any] = {
    **{k: SCHEMA[k] for k in ("name", "command", "date", "commit", "device", "versions", "config")},
    "rounds": int,
    "metrics": {str: [NUMBER]},
    "ratios": {str: [NUMBER]},
    "summary": SCHEMA["summary"],
}


def validate(record: Any) -> None:
    """Raise a ValueError that names the field unless ``record`` is complete and consistent.

    Every field of `SCHEMA` (or `BENCH`) is there with its type, and no other; every number is
    finite; each metric has one value a seed (or round); each summary is the mean and sample
    standard deviation of its metric (``sd`` is null for a single seed).
    """
    bench = isinstance(record, dict) and "rounds" in record
    _check(record, BENCH if bench else SCHEMA, "record")
    metrics, seeds = record["metrics"], range(record["rounds"]) if bench else record["seeds"]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: expected one or more, all different, got {seeds}")
    lists = {f"metrics.{k}": v for k, v in metrics.items()}
    if bench:
        lists |= {f"ratios.{k}": v for k, v in record["ratios"].items()}
    else:
        lists |= {k: record[k] for k in ("wall_s", "cpu_s")}
    for name, values in lists.items():
        if len(values) != len(seeds):
            raise ValueError(f"{name}: expected {len(seeds)} values, one a seed, got {len(values)}")
    if summarize(metrics) != record["summary"]:
        raise ValueError(
            f"summary: expected {summarize(metrics)} from metrics, got {record['summary']}"
        )
    for name in ("torch", "kltools", "python"):
        if name not in record["versions"]:
            raise ValueError(f"versions.{name}: expected a version, got none")
    if datetime.datetime.fromisoformat(record["date"]).utcoffset() != datetime.timedelta(0):
        raise ValueError(f"date: expected a time in UTC, got {record['date']}")
    for name in () if bench else ("model", "data"):
        digest = record[name]["sha256"]
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise ValueError(f"{name}.sha256: expected 64 hexadecimal digits, got {digest!r}")


def _check(value: Any, schema: Any, path: str) -> None:
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            raise ValueError(f"{path}: expected an object, got {type(value).__name__}")
        if list(schema) == [str]:
            schema = dict.fromkeys(value, schema[str])
        for key in schema.keys() - value.keys():
            raise ValueError(f"{path}.{key}: expected a value, the field is missing")
        for key in value.keys() - schema.keys():
            raise ValueError(f"{path}.{key}: expected no such field")
        for key, part in schema.items():
            _check(value[key], part, f"{path}.{key}")
    elif isinstance(schema, list):
        if not isinstance(value, list):
            raise ValueError(f"{path}: expected a list, got {type(value).__name__}")
        for i, item in enumerate(value):
            _check(item, schema[0], f"{path}[{i}]")
    elif not isinstance(value, schema) or (isinstance(value, bool) and schema is not object):
        raise ValueError(f"{path}: expected {schema}, got {value!r}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{path}: expected a finite number, got {value}")


def summarize(metrics: dict[str, list[float]]) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation of each metric over the seeds."""
    return {
        k: {"mean": statistics.fmean(v), "sd": statistics.stdev(v) if len(v) > 1 else None}
        for k, v in metrics.items()
    }


def load(name: str, folder: Path | None = None) -> dict[str, Any] | None:
    """The recorded run ``name``, or ``None`` where there is no such record.

    In the book's repository the records are in ``chapters/runs``; the installed package carries
    them as ``kltools.runs``.

    Raises:
        ValueError: the file is there but is no valid record.
    """
    if folder is None:
        folder = FOLDER if FOLDER.is_dir() else Path(__file__).with_name("runs")
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf8"))
        validate(record)
    except ValueError as e:
        raise ValueError(f"{path.name}: {e}") from e
    return record


def save(record: dict[str, Any], folder: Path | None = None) -> Path:
    """Check ``record`` and write it whole or not at all; returns its path."""
    validate(record)
    folder = folder or FOLDER
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf8") as f:
            f.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, folder / f"{record['name']}.json")
    except BaseException:
        os.unlink(temporary)
        raise
    return folder / f"{record['name']}.json"


# --- the runs ---------------------------------------------------------------------------------


def _settings(kind: str, device: str) -> tuple[Any, dict[str, Any]]:
    """Settings and split sizes of a run on ``"cpu"`` or ``"cuda"``, which must be there."""
    import torch

    from kltools import finetune

    config, sizes = finetune.defaults()
    if device == "cpu" and tiers.tier() != "cpu":
        raise ValueError(f"KLTOOLS_TIER: expected cpu for this run, got {tiers.tier()}")
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("device: expected a GPU (CUDA) for this run, got none")
        if tiers.tier() == "cpu":
            config = dataclasses.replace(config, epochs=4, dropout=0.1, patience=2)
            sizes = {"train": None, "validation": 1000, "test": 1000}
    if kind == "long":
        config = dataclasses.replace(config, max_length=512)
    return config, sizes


def _weights(model: Any, name: str) -> dict[str, Any]:
    """What the run started from: name, SHA-256 of all weights of the encoder, and their number."""
    digest = hashlib.sha256()
    for key, tensor in sorted(model.base_model.state_dict().items()):
        digest.update(key.encode() + tensor.cpu().contiguous().numpy().tobytes())
    number = sum(p.numel() for p in model.parameters())
    return {"name": name, "sha256": digest.hexdigest(), "weights": number}


def _started_from(parts: Any, config: Any, kind: str) -> dict[str, Any]:
    """Model, data and baselines of a run."""
    from kltools import finetune

    name = tiers.encoder()
    local = Path(name).is_dir()
    embedded = local and Path(name) == tiers.cache_dir() / "encoder"
    title = tiers.ASSETS["encoder"].source if embedded else Path(name).name if local else name
    frames = {k: getattr(parts, k) for k in ("train", "validation", "test")}
    rows = hashlib.sha256()
    for k, frame in frames.items():
        rows.update(json.dumps([k, frame["text"].tolist(), frame["label"].tolist()]).encode())
    tfidf = finetune.tfidf_baseline(parts.train, parts.validation, parts.test)
    majority = finetune.majority_baseline(parts.train, parts.test)
    return {
        "model": _weights(finetune.load_model(config)[0], title),
        "data": {
            "name": tiers.EMBEDDED[kind] if tiers.tier() == "cpu" else tiers.HUB_REVIEWS[kind],
            "sha256": rows.hexdigest(),
            "rows": {k: len(v) for k, v in frames.items()},
            "dropped": parts.dropped,
        },
        "baselines": {f"tfidf_{key}": tfidf[key] for key in ("accuracy", "loss")}
        | {"majority_accuracy": majority["accuracy"]},
    }


def fine_tune(seeds: Iterable[int], kind: str, device: str) -> dict[str, Any]:
    """The fine-tune once a seed (head, order of rows, dropout), and its baselines.

    On ``"cpu"`` the tier's rows and settings (the page trains on fewer). On ``"cuda"`` all rows:
    of the hub's data with ``bert-base-uncased`` in tier ``gpu``, else of the embedded reviews with
    the embedded encoder.
    """
    from kltools import finetune

    config, sizes = _settings(kind, device)
    parts = finetune.split(finetune.load_reviews(kind), **sizes)
    metrics: dict[str, list[float]] = {}
    cut: dict[str, int] = {}
    for seed in seeds:
        done = finetune.run(parts, dataclasses.replace(config, seed=seed))
        history, test, cut = done["history"], done["test"], done["cut"]
        for key, value in {
            "accuracy": test["accuracy"],
            "loss": test["loss"],
            "validation_accuracy": history.validation_accuracy[history.best_epoch],
            "validation_loss": history.validation_loss[history.best_epoch],
            "train_loss": history.train_loss[history.best_epoch],
            "best_epoch": history.best_epoch,
        }.items():
            metrics.setdefault(key, []).append(value)
        print(f"seed {seed}: accuracy {test['accuracy']:.4f}, loss {test['loss']:.4f} nats")
    chosen = {k: v for k, v in dataclasses.asdict(config).items() if k != "seed"}
    body = {"config": chosen, "cut": cut, "metrics": metrics}
    return body | _started_from(parts, config, kind)


def fewer_parameters(seeds: Iterable[int], kind: str, device: str) -> dict[str, Any]:
    """Each method of `kltools.efficient`, see `efficient.compare`, and its baselines."""
    from kltools import efficient, finetune

    config, sizes = efficient.settings(*_settings(kind, device), device)
    parts = finetune.split(finetune.load_reviews(kind), **sizes)
    return _started_from(parts, config, kind) | efficient.compare(parts, config, seeds)


def pretrain(seeds: Iterable[int], kind: str) -> dict[str, Any]:
    """A causal and a masked language model from scratch, once a seed, see `kltools.pretrain`."""
    from kltools import pretrain

    body = pretrain.run(seeds, kind)
    return body | {"model": _weights(body["model"], "BERT's network, from scratch")}


RUNS: dict[str, Callable[[Iterable[int], str], dict[str, Any]]] = {
    "fine-tune-cpu": functools.partial(fine_tune, device="cpu"),
    "fine-tune-gpu": functools.partial(fine_tune, device="cuda"),
    "language-modelling-gpu": pretrain,
    "fewer-parameters-cpu": functools.partial(fewer_parameters, device="cpu"),
    "fewer-parameters-gpu": functools.partial(fewer_parameters, device="cuda"),
}


def _timed(seeds: Sequence[int], clocks: dict[str, list[float]]) -> Iterator[int]:
    """Each seed; the seconds until the next one is asked for go to ``clocks``."""
    for seed in seeds:
        wall, cpu = time.perf_counter(), time.process_time()
        yield seed
        clocks["wall_s"].append(round(time.perf_counter() - wall, 2))
        clocks["cpu_s"].append(round(time.process_time() - cpu, 2))
        print(f"seed {seed}: {clocks['wall_s'][-1]:.0f} s", flush=True)


def _head(name: str, command: str, metrics: dict[str, list[float]]) -> dict[str, Any]:
    return {
        "name": name,
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "device": machine.device(),
        "versions": machine.versions(),
        "summary": summarize(metrics),
    }


def save_bench(
    what: str,
    rounds: int,
    config: dict[str, Any],
    metrics: dict[str, list[float]],
    ratios: dict[str, list[float]],
    folder: Path | None = None,
) -> Path:
    """Write the record of a run of `kltools.bench`, one number a round in each list."""
    import torch

    name = f"bench-{what}-{'gpu' if torch.cuda.is_available() else 'cpu'}"
    head = _head(name, f"python -m kltools.bench {what}", metrics)
    body = {"rounds": rounds, "config": config, "metrics": metrics, "ratios": ratios}
    return save({key: (head | body)[key] for key in BENCH}, folder)


def make(name: str, seeds: Sequence[int], kind: str = "short", command: str = "") -> dict[str, Any]:
    """Run ``name`` (a key of `RUNS`) and return its record."""
    if name not in RUNS:
        raise ValueError(f"name: expected one of {', '.join(RUNS)}, got {name!r}")
    clocks: dict[str, list[float]] = {"wall_s": [], "cpu_s": []}
    body = RUNS[name](_timed(seeds, clocks), kind) | clocks
    title = name if kind == "short" else f"{name}-{kind}"
    head = _head(title, command or f"python -m kltools.record {name}", body["metrics"])
    head["seeds"] = list(seeds)
    return {key: (head | body)[key] for key in SCHEMA}


def main(argv: Sequence[str] | None = None) -> int:
    """Run, record, and print where the record is."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="python -m kltools.record", description=__doc__)
    parser.add_argument("name", choices=list(RUNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--kind", choices=list(tiers.EMBEDDED), default="short")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for NAME.json")
    args = parser.parse_args(argv)
    try:
        if not args.out.is_dir():  # before the run, not after it
            raise ValueError(f"--out: expected a folder, got {args.out}")
        tier = os.environ.get("KLTOOLS_TIER")
        command = f"{f'KLTOOLS_TIER={tier} ' if tier else ''}python -m kltools.record "
        command += shlex.join([a for a in argv if a != "--out" and a != str(args.out)])
        record = make(args.name, args.seeds, args.kind, command)
        path = save(record, args.out)
    except (tiers.TiersError, ValueError, OSError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    for key, s in record["summary"].items():
        spread = "" if s["sd"] is None else f" ± {s['sd']:.4f}"
        print(f"{key}: {s['mean']:.4f}{spread}")
    print(f"baselines: {record['baselines']}\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""record: what a record must hold, how it is written, and the runs themselves on a tiny model."""

import copy
import json
import socket

import numpy as np
import pytest
import torch

from chapters.assets import claims
from kltools import efficient, finetune, machine, record, tiers
from tests.kltools.test_finetune import checkpoint, toy_rows  # noqa: F401


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a test reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("KLTOOLS_TIER", "KLTOOLS_MODEL", "KLTOOLS_REVIEWS"):
        monkeypatch.delenv(name, raising=False)


def good() -> dict:
    metrics = {"accuracy": [0.8, 0.7, 0.9], "loss": [0.5, 0.6, 0.4]}
    return {
        "name": "toy",
        "command": "python -m kltools.record toy",
        "date": "2026-01-02T03:04:05+00:00",
        "commit": None,
        "device": {"kind": "cpu", "name": "a CPU", "driver": "none", "threads": 1},
        "versions": {"python": "3.11.7", "torch": "2.13.0", "kltools": "0.1.0"},
        "config": {"lr": 1e-4, "freeze": "none"},
        "model": {"name": "a model", "sha256": "0" * 64, "weights": 10},
        "data": {
            "name": "some data",
            "sha256": "f" * 64,
            "rows": {"train": 3, "test": 2},
            "dropped": {"copies": 0},
        },
        "cut": {"train": 0},
        "seeds": [0, 1, 2],
        "metrics": metrics,
        "summary": record.summarize(metrics),
        "baselines": {"majority": 0.5},
        "wall_s": [1.0, 2.0, 3.0],
        "cpu_s": [1.0, 2.0, 3],
    }


def test_summarize():
    got = record.summarize(good()["metrics"])
    assert got["accuracy"]["mean"] == pytest.approx(np.mean([0.8, 0.7, 0.9]))
    assert got["accuracy"]["sd"] == pytest.approx(np.std([0.8, 0.7, 0.9], ddof=1))
    assert record.summarize({"loss": [0.5]}) == {"loss": {"mean": 0.5, "sd": None}}


def test_a_good_record_passes():
    record.validate(good())
    record.validate(json.loads(json.dumps(good())))


def paths(value, at=()):
    """The place of every field of a record, outermost first."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield (*at, key)
            yield from paths(part, (*at, key))


FREE = ("versions", "config", "metrics", "summary", "baselines", "rows", "dropped", "cut")


@pytest.mark.parametrize("path", list(paths(good())), ids=".".join)
def test_a_missing_field_is_refused(path):
    broken = copy.deepcopy(good())
    inner = broken
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    parent = path[-2] if len(path) > 1 else ""
    if parent in FREE and path != ("versions", "torch") and parent not in ("metrics", "summary"):
        if path in (("versions", "kltools"), ("versions", "python")):
            with pytest.raises(ValueError, match=path[-1]):
                record.validate(broken)
        else:
            record.validate(broken)  # a name of the run's own
    else:
        with pytest.raises(ValueError, match=f"{path[-1]}|summary"):
            record.validate(broken)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(extra=1), "record.extra: expected no such field"),
        (lambda r: r["device"].update(threads="2"), "record.device.threads: expected"),
        (lambda r: r.update(seeds=[]), "seeds: expected one or more"),
        (lambda r: r.update(seeds=[0, 1, 1]), "seeds: expected one or more, all different"),
        (lambda r: r.update(seeds=[0, 1]), "metrics.accuracy: expected 2 values"),
        (lambda r: r.update(wall_s=[1.0]), "wall_s: expected 3 values"),
        (lambda r: r["metrics"]["loss"].__setitem__(0, float("nan")), "expected a finite number"),
        (lambda r: r["metrics"]["loss"].__setitem__(0, True), r"loss\[0\]: expected"),
        (lambda r: r["summary"]["accuracy"].update(mean=0.81), "summary: expected"),
        (lambda r: r["summary"]["accuracy"].update(sd=0.01), "summary: expected"),
        (lambda r: r.update(date="2026-01-02T03:04:05+02:00"), "date: expected a time in UTC"),
        (lambda r: r.update(date="yesterday"), "Invalid isoformat"),
        (lambda r: r["model"].update(sha256="abc"), "model.sha256: expected 64"),
        (lambda r: r.update(device="a GPU"), "record.device: expected an object"),
        (lambda r: r.update(seeds=3), "record.seeds: expected a list"),
    ],
)
def test_a_wrong_record_is_refused(change, message):
    broken = good()
    change(broken)
    with pytest.raises(ValueError, match=message):
        record.validate(broken)


def test_save_and_load(tmp_path):
    path = record.save(good(), tmp_path)
    assert path == tmp_path / "toy.json" and record.load("toy", tmp_path) == good()
    assert record.load("absent", tmp_path) is None
    assert record.load("toy", tmp_path / "no" / "folder") is None
    path.write_text(path.read_text().replace('"threads": 1', '"cores": 1'))
    with pytest.raises(ValueError, match=r"toy.json: record.device"):
        record.load("toy", tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"toy.json: "):
        record.load("toy", tmp_path)


def test_a_failed_save_leaves_the_old_record(tmp_path, monkeypatch):
    record.save(good(), tmp_path)
    broken = good()
    del broken["date"]
    with pytest.raises(ValueError, match="date"):
        record.save(broken, tmp_path)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(record.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        record.save(good() | {"command": "another"}, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.json"]
    assert json.loads((tmp_path / "toy.json").read_text()) == good()


def test_what_a_bench_compares_with_is_recorded_where_installed(monkeypatch):
    assert set(machine.versions()) >= {"python", *machine.PACKAGES}
    monkeypatch.setattr(machine, "PEERS", {"one": "pytest", "other": "not_there"})
    got = machine.versions()
    assert got["pytest"] == pytest.__version__ and "not_there" not in got


def test_the_repositorys_records_are_valid():
    for path in record.FOLDER.glob("*.json"):
        assert record.load(path.stem)["name"] == path.stem


def test_a_run_writes_its_record(checkpoint, monkeypatch, tmp_path, capsys):  # noqa: F811
    monkeypatch.setenv("KLTOOLS_MODEL", checkpoint)
    monkeypatch.setattr(tiers, "reviews", lambda kind: toy_rows(200).assign(split="train"))
    config = finetune.Config(epochs=3, lr=3e-3, batch_size=8, max_length=32)
    sizes = {"train": 64, "validation": 40, "test": 40}
    monkeypatch.setattr(finetune, "defaults", lambda: (config, sizes))
    options = ["fine-tune-cpu", "--seeds", "3", "4", "--out", str(tmp_path)]
    assert record.main(options) == 0
    first = record.load("fine-tune-cpu", tmp_path)
    assert first["seeds"] == [3, 4] and first["data"]["rows"] == sizes
    assert first["command"] == "python -m kltools.record fine-tune-cpu --seeds 3 4"
    assert first["config"]["lr"] == 3e-3 and "seed" not in first["config"]
    assert first["model"]["name"] == "tiny-bert" and first["versions"]["torch"] == torch.__version__
    assert first["baselines"]["tfidf_accuracy"] > 0.8
    assert first["baselines"]["majority_accuracy"] == 0.5
    assert first["summary"] == record.summarize(first["metrics"])
    out = capsys.readouterr().out
    assert f"accuracy: {first['summary']['accuracy']['mean']:.4f} ±" in out
    assert record.main(options) == 0
    again = record.load("fine-tune-cpu", tmp_path)
    for key in ("metrics", "data", "model", "baselines"):
        assert again[key] == first[key]


@pytest.fixture
def small(checkpoint, monkeypatch):  # noqa: F811
    """Runs of seconds: a tiny encoder and 144 toy rows."""
    monkeypatch.setenv("KLTOOLS_MODEL", checkpoint)
    monkeypatch.setattr(tiers, "reviews", lambda kind: toy_rows(200).assign(split="train"))
    config = finetune.Config(epochs=3, lr=3e-3, batch_size=8, max_length=32)
    sizes = {"train": 64, "validation": 40, "test": 40}
    monkeypatch.setattr(finetune, "defaults", lambda: (config, sizes))
    return sizes


def test_fewer_parameters(small, monkeypatch, tmp_path):
    fits = []

    def fit(model, train, validation, config, **options):
        fits.append((config.seed, config.lr, efficient.trained(model)))
        return real(model, train, validation, config, **options)

    real = finetune.fit
    monkeypatch.setattr(finetune, "fit", fit)
    options = ["fewer-parameters-cpu", "--seeds", "3", "4", "--out", str(tmp_path)]
    assert record.main(options) == 0
    got = record.load("fewer-parameters-cpu", tmp_path)
    assert got["data"]["rows"] == small and got["config"]["batch_size"] == 16
    assert {"seed", "lr", "freeze"}.isdisjoint(got["config"]) and "peft" in got["versions"]
    assert len(got["metrics"]) == 3 * len(efficient.RATES)
    numbers = {m: got["metrics"][f"{m} / trained"] for m in efficient.RATES}
    # tiny BERT: 2 layers, width 32; the head has 2 × 32 + 2 weights
    assert numbers["head"] == [66, 66] and numbers["LoRA"] == [66 + 2 * 2 * 8 * 64] * 2
    assert numbers["full"] == [got["model"]["weights"]] * 2
    first, second = ([lr for s, lr, _ in fits if s == seed] for seed in (3, 4))
    assert first == [lr for pair in efficient.RATES.values() for lr in pair]
    assert second == [got["config"][f"lr, {m}"] for m in efficient.RATES]
    assert [n for s, _, n in fits if s == 4] == [v[1] for v in numbers.values()]
    page = "\n".join(claims.run_as_markdown(got))
    assert "| full / loss, nats |" in page
    assert f"| full / trained | {got['model']['weights']:,} |" in page


def test_what_learns(small):
    def model():
        return finetune.load_model()[0]

    def learns(m):
        return {n for n, p in m.named_parameters() if p.requires_grad}

    names = {n for n, _ in model().named_parameters()}
    assert learns(efficient.choose(model(), "full")) == names
    assert learns(efficient.choose(model(), "head")) == {"classifier.weight", "classifier.bias"}
    biases = {n for n in names if n.endswith(".bias")} | {"classifier.weight"}
    assert learns(efficient.choose(model(), "BitFit")) == biases
    last = {n for n in names if "layer.1." in n or "pooler" in n or "classifier" in n}
    assert learns(efficient.choose(model(), "last layer")) == last
    bare = [model() for _ in range(3)]
    state = torch.get_rng_state()
    one, same, other = (efficient.choose(m, "LoRA", seed=s) for m, s in zip(bare, (1, 1, 2)))
    assert torch.equal(torch.get_rng_state(), state)
    a, b, c = (dict(m.named_parameters()) for m in (one, same, other))
    assert all(torch.equal(a[n], b[n]) for n in a) and not all(torch.equal(a[n], c[n]) for n in a)
    assert all("lora_" in n or "classifier" in n for n in learns(one)) and len(learns(one)) == 10
    with pytest.raises(ValueError, match=r"method: expected one of head, .*, got 'lora'"):
        efficient.choose(model(), "lora")


def test_bad_calls(monkeypatch, tmp_path, capsys):
    with pytest.raises(ValueError, match="name: expected one of fine-tune-cpu, fine-tune-gpu"):
        record.make("nothing", [0])
    assert record.main(["fine-tune-cpu", "--out", str(tmp_path / "none")]) == 1
    assert "--out: expected a folder" in capsys.readouterr().err
    monkeypatch.setenv("KLTOOLS_TIER", "gpu")
    assert record.main(["fine-tune-cpu", "--out", str(tmp_path)]) == 1
    assert "KLTOOLS_TIER: expected cpu for this run, got gpu" in capsys.readouterr().err
    monkeypatch.delenv("KLTOOLS_TIER")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert record.main(["fine-tune-gpu", "--out", str(tmp_path)]) == 1
    assert "expected a GPU (CUDA) for this run, got none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

"""bench: what is measured is the same computation everywhere; the table and the record follow."""

import math
import os
import time
import types

import pytest
import torch

from chapters.assets import claims
from kltools import bench, finetune, record


class TOKENIZER:
    """What a collator of `transformers` wants of a tokenizer."""

    pad_token_id, pad_token, padding_side, model_input_names = 0, "[PAD]", "right", ["input_ids"]
    is_fast, deprecation_warnings = True, {}

    @staticmethod
    def pad(rows, **_):
        batch = finetune.collate([{"input_ids": x["input_ids"], "label": 0} for x in rows])
        batch["labels"] = torch.tensor([x["labels"] for x in rows])
        return batch

    @staticmethod
    def save_pretrained(folder, **_):
        return ()


@pytest.mark.parametrize("direction", ["forward", "gjs"])
def test_all_implementations_compute_the_same(direction):
    values, grads = {}, {}
    for name in ("naive", "kltools"):
        g = torch.Generator().manual_seed(0)
        h, t = (torch.randn(300, 8, generator=g) for _ in range(2))
        W, U = (torch.randn(50, 8, generator=g) for _ in range(2))
        h.requires_grad_(), W.requires_grad_()
        values[name] = bench.DIVERGENCES[name](h, W, t, U, direction).item()
        grads[name] = h.grad, W.grad
    assert values["kltools"] == pytest.approx(values["naive"], rel=1e-5)
    for a, b in zip(*grads.values()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_peak_memory_sees_what_is_allocated():
    case = {"N": 512, "V": 8000, "H": 16, "dtype": "float32", "device": "cpu"}
    case |= {"direction": "forward", "round": 0}
    tile = 512 * 8000 * 4 / 1e6
    naive = bench._apart("divergence", "naive", case)
    own = bench._apart("divergence", "kltools", case)
    assert naive["peak_mb"] > 3 * tile > own["peak_mb"] > 0
    assert naive["seconds"] > 0 and naive["value"] == pytest.approx(own["value"], rel=1e-5)


def test_peak_memory_is_read_on_linux_alone(monkeypatch):
    monkeypatch.setattr(bench.sys, "platform", "darwin")
    with pytest.raises(OSError, match=r"divergence: expected Linux or a GPU .* got darwin"):
        bench._memory("VmRSS")


def test_ratios_are_taken_within_a_round():
    metrics = {
        "a / naive / seconds": [2.0, 4.0],
        "a / kltools / seconds": [1.0, 1.0],
        "a / kltools / peak_mb": [3.0, 3.0],
        "b / kltools / seconds": [1.0, 1.0],
    }
    assert bench.ratios(metrics, "naive", "seconds") == {
        "a / kltools : naive / seconds": [0.5, 0.25]
    }


def test_table_and_record(tmp_path, capfd, monkeypatch):
    def scripted(what, name, case):
        base = {"matrix products": 1.0, "naive": 4.0}.get(name, 2.0) + 0.1 * case["round"]
        value = math.nan if name == "matrix products" else 1.0
        return {"seconds": base, "peak_mb": 10 * base, "value": value}

    monkeypatch.setattr(bench, "_apart", scripted)
    monkeypatch.setattr(
        bench.machine, "PEERS", {"TRL": "no_such_package", "Liger": "no_such_package"}
    )
    assert bench.main(["divergence", "--rounds", "2", "--N", "64", "--out", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    assert "TRL: not installed, left out (pip install no_such_package)" in out
    assert "forward / kltools : naive / seconds" in out and "0.506  (0.500 to 0.512)" in out
    done = record.load("bench-divergence-cpu", tmp_path)
    assert done["rounds"] == 2 and done["config"]["N"] == 64
    assert done["device"]["threads"] == int(os.environ["OMP_NUM_THREADS"])  # of each measurement
    assert done["ratios"]["gjs / kltools : naive / peak_mb"] == pytest.approx([0.5, 2.1 / 4.1])
    assert not any("value" in k and "products" in k for k in done["metrics"])  # not a number
    for change in ({"rounds": 3}, {"ratios": {"x": [1.0]}}, {"summary": {}}):
        with pytest.raises(ValueError):
            record.validate(done | change)
    page = claims.run_as_markdown(done)
    assert "| forward, seconds: kltools to naive | 0.506 | 0.5 to 0.512 |" in page
    assert "| ratio | median of 2 rounds | lowest to highest |" in page


def test_a_run_that_is_stopped_leaves_its_whole_rounds(tmp_path, monkeypatch):
    def scripted(what, name, case):
        if case["round"] == 2:
            raise KeyboardInterrupt
        return {"seconds": 1.0 + case["round"], "peak_mb": 1.0}

    monkeypatch.setattr(bench, "_apart", scripted)
    with pytest.raises(KeyboardInterrupt):
        bench.main(["divergence", "--rounds", "5", "--out", str(tmp_path)])
    done = record.load("bench-divergence-cpu", tmp_path)
    assert done["rounds"] == 2 and done["metrics"]["forward / naive / seconds"] == [1.0, 2.0]


def test_each_loop_is_watched_after_each_epoch(tmp_path, monkeypatch):
    """The clock stands while the held-out rows are looked at, in all three loops."""
    from tests.kltools import test_checkpoint as toy

    model, train, held = toy.toy()
    frame = types.SimpleNamespace(train=list(range(48)), validation=[], test=list(range(16)))
    monkeypatch.setattr(finetune, "load_reviews", lambda: None)
    monkeypatch.setattr(finetune, "split", lambda rows, **sizes: frame)
    monkeypatch.setattr(finetune, "load_model", lambda config: (model, TOKENIZER))
    monkeypatch.setattr(
        finetune, "encode", lambda rows, *_: (train if len(rows) == 48 else held, 0)
    )
    looked, evaluate = [], finetune.evaluate

    def slow(*arguments, **options):
        looked.append(len(arguments[1]))
        end = time.process_time() + 0.5
        while time.process_time() < end:
            pass
        return evaluate(*arguments, **options)

    monkeypatch.setattr(finetune, "evaluate", slow)
    case = {"epochs": 3, "batch": 16, "rows": 48, "round": 0}
    for name in ("Trainer", "kltools"):
        looked.clear()
        done = bench._measure_finetune(name, case)
        assert looked == [16, 16, 16], name
        seconds = [done[f"seconds {e}"] for e in (1, 2, 3)]
        assert seconds == sorted(seconds) and done["seconds"] == seconds[-1]
        assert done["rate"] == pytest.approx(3 * 48 / done["seconds"])
        assert done["accuracy"] == done["accuracy 3"] and len(done) == 9
        assert seconds[2] - seconds[0] < 1.0, name  # two looks alone take one second


def test_a_failure_says_whose_it_is():
    with pytest.raises(RuntimeError, match=r"no such loop: KeyError: 'no such loop'"):
        bench._apart(
            "divergence", "no such loop", dict(N=2, V=2, H=2, dtype="float32", device="cpu")
        )


def test_what_is_needed(capfd):
    with pytest.raises(SystemExit):
        bench.main([])
    assert "what: expected divergence, finetune, steps" in capfd.readouterr().err

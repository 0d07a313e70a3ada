"""steps: what can be seen of them without a GPU; tests/gpu has the rest."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kltools import model, steps

SIZE = {"layers": 2, "width": 64, "rows": 60, "length": 0, "device": "cpu"}


def session(**changes):
    return steps.Session(dataclasses.replace(steps.Step(), batch=8, **changes), SIZE)


def test_each_step_changes_little_and_keeps_what_was_won():
    before = dataclasses.asdict(steps.Step())
    for name, step in steps.STEPS.items():
        now = dataclasses.asdict(step)
        changed = {k for k in now if now[k] != before[k]}
        expected = {"padded to 512": 0, "packed": 2}.get(name, 1)
        assert len(changed) == expected, (name, changed)
        before = now


def test_lengths_are_like_those_of_short_reviews():
    n = steps.lengths(67_349)
    assert 12.5 < n.mean() < 14 and 9 <= np.median(n) <= 11 and n.max() == 66 and n.min() == 3
    assert (steps.lengths(5, fixed=128) == 128).all()


@pytest.mark.parametrize("n", [[7], [3, 3, 3], [12, 30]])
def test_useful_flops_are_those_that_torch_counts(n):
    """Text by text, nothing padded; pooler and head, which the counter sees too, are left out."""
    run, width = session(), SIZE["width"]
    run.model.train()
    with FlopCounterMode(display=False) as counter:
        for k in n:
            ids = torch.randint(1000, 30_000, (1, k))
            run.model(input_ids=ids).logits.sum().backward()
    pooler = 3 * len(n) * 2 * (width**2 + 2 * width)
    counted = counter.get_total_flops() - pooler
    want = steps.useful_flops(np.array(n), SIZE["layers"], width)
    assert counted == want


def test_packed_texts_get_the_logits_that_they_get_alone():
    run = session(padding="packed")
    run.model.eval().double()
    rows = run.plan()[0]
    batch = run.batch(rows)
    assert batch["input_ids"].shape[1] % 128 == 0
    with torch.no_grad():
        got = steps.packed_logits(run.model, batch)
        for i, row in enumerate(rows):
            alone = run.model(input_ids=torch.tensor([run.rows[row]["input_ids"]])).logits
            torch.testing.assert_close(got[i : i + 1], alone, rtol=1e-10, atol=1e-12)
        forgotten = batch | {"text": torch.zeros_like(batch["text"])}  # all attend to all
        assert float((steps.packed_logits(run.model, forgotten) - got).abs().max()) > 1e-5


@pytest.mark.parametrize("padding", ["512", "longest", "packed"])
def test_an_epoch_takes_each_row_of_its_whole_batches_once(padding):
    run = session(padding=padding, buckets=padding == "longest")
    plan = run.plan()
    rows = [i for batch in plan for i in batch]
    assert len(rows) == len(set(rows)) == 56 and all(len(batch) == 8 for batch in plan)
    shapes = {run.batch(batch)["input_ids"].shape for batch in plan}
    if padding == "512":
        assert shapes == {(8, 512)}
    if padding == "longest":
        assert shapes == {(8, max(int(run.n[i]) for i in batch)) for batch in plan}


def test_a_measurement_is_of_rows_and_seconds(monkeypatch):
    ticks = iter(np.arange(1000) / 100)
    monkeypatch.setattr(steps.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(steps.time, "process_time", lambda: next(ticks))
    trained = []
    monkeypatch.setattr(
        steps.Session, "train_step", lambda self, batch: trained.append(1) or torch.zeros(())
    )
    case = SIZE | {"matrix_tflops": 0.5}
    done = steps.measure("length buckets", case | {"rows": 320})
    assert len(trained) == 20  # a first epoch and one that is timed
    n, clock = steps.lengths(320), 320 / done["rate"]
    assert done["seconds"] == pytest.approx(clock)
    assert done["mfu"] == pytest.approx(steps.useful_flops(n, 2, 64) / clock / 0.5e12)
    assert 1 <= done["waste"] < 1.5  # ten batches are a small window
    steps._session.cache_clear()


def test_the_layers_are_compiled_and_nothing_else():
    run = session()
    model.compile_layers(run.model)
    names = [n for n, m in run.model.named_modules() if m._compiled_call_impl is not None]
    assert names == ["bert.encoder.layer.0", "bert.encoder.layer.1"]

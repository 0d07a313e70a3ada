"""On a GPU: recorded and replayed steps, the compiled tile, packed batches; against plain runs."""

import dataclasses

import pytest
import torch

from kltools import finetune, replay, steps
from kltools.finetune import Config
from kltools.gradients import fused_linear_divergence
from tests.kltools import test_checkpoint as toy
from tests.kltools.test_fused import DIRECTIONS, case, textbook

CUDA = torch.device("cuda")


class Eager:
    """`Replay` without a graph: every step is run as it stands."""

    def __init__(self, step, device):
        self.step, self.device = step, device

    def __call__(self, batch):
        return self.step({k: x.to(self.device) for k, x in batch.items()})


def trained(config, monkeypatch=None, folder=None):
    model, train, held = toy.toy()
    if monkeypatch:
        monkeypatch.setattr(finetune, "Replay", Eager)
    history = finetune.fit(model.to(CUDA), train, held, config, folder=folder)
    return history, torch.cat([p.detach().double().flatten().cpu() for p in model.parameters()])


FP32 = dataclasses.replace(toy.CONFIG, dropout=0.0, precision="fp32", epochs=6, patience=6)


def test_replayed_steps_are_the_eager_ones(monkeypatch):
    def toy_without_dropout():
        model, train, held = before()
        for m in model.modules():
            if isinstance(m, torch.nn.Dropout):
                m.p = 0.0
        return model, train, held

    before = toy.toy
    monkeypatch.setattr(toy, "toy", toy_without_dropout)
    calls = []
    record = replay.Replay._record
    monkeypatch.setattr(
        replay.Replay, "_record", lambda self, batch: calls.append(1) or record(self, batch)
    )
    history, weights = trained(FP32)
    assert calls  # something was recorded
    want, plain = trained(FP32, monkeypatch)
    assert len(history.step_loss) == len(want.step_loss) == 36
    torch.testing.assert_close(
        torch.tensor(history.step_loss), torch.tensor(want.step_loss), rtol=2e-5, atol=1e-6
    )
    torch.testing.assert_close(weights, plain, rtol=1e-3, atol=2e-5)
    assert history.lr == want.lr


def test_dropout_differs_from_replay_to_replay():
    x = torch.ones(1000, device=CUDA)
    take = replay.Replay(lambda batch: torch.dropout(x * batch["a"], 0.5, True), CUDA)
    seen = [take({"a": torch.ones(1)}) for _ in range(4)]
    assert all(not torch.equal(a, b) for a in seen for b in seen if a is not b)
    assert all(400 < int((a > 0).sum()) < 600 for a in seen)


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    config = dataclasses.replace(FP32, dropout=0.1)
    _, whole = trained(config)
    saves, save = [], finetune.checkpoint.save

    def once(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune.checkpoint, "save", once)
    with pytest.raises(KeyboardInterrupt):
        trained(config, folder=tmp_path)
    _, resumed = trained(config, folder=tmp_path)
    torch.testing.assert_close(resumed, whole, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("chunk", [None, 3])
def test_fused_divergence_in_float32_and_bfloat16(direction, chunk):
    h, W, t, U = case(0, N=8, H=64, V=301, teacher=32, scale=0.5)
    want = textbook(h, W, t, U, direction, 0.3, 2.0).sum()
    gradients = torch.autograd.grad(want, [h, W])
    for dtype, bound in ((torch.float32, 3e-5), (torch.bfloat16, 2e-2)):
        x = [v.detach().to(CUDA, dtype).requires_grad_(i < 2) for i, v in enumerate((h, W, t, U))]
        options = dict(direction=direction, beta=0.3, temperature=2.0, chunk=chunk)
        value, count = fused_linear_divergence(*x, **options)
        assert count == 8 and value.dtype == torch.float32
        assert abs(value.item() - want.item()) < bound * want.item()
        for got, g in zip(torch.autograd.grad(value, x[:2]), gradients):
            assert got.dtype == dtype
            assert float((got.double().cpu() - g).norm() / g.norm()) < bound


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_packed_batches_have_the_logits_of_padded_ones(precision, compiled):
    size = {"layers": 2, "width": 128, "rows": 40, "length": 0, "device": "cuda"}
    step = dataclasses.replace(
        steps.STEPS["packed"], batch=8, precision=precision, compiled=compiled
    )
    session = steps.Session(step, size)
    session.model.eval()
    rows = session.plan()[0]
    packed = {k: x.to(CUDA) for k, x in session.batch(rows).items()}
    padded = finetune.collate([session.rows[i] for i in rows])
    padded = {k: x.to(CUDA) for k, x in padded.items() if k != "labels"}
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        got, want = steps.packed_logits(session.model, packed), session.model(**padded).logits
    bound = 1e-5 if precision == "fp32" else 3e-2
    torch.testing.assert_close(got.float(), want.float(), rtol=bound, atol=bound)


def test_every_step_of_the_chapter_learns():
    size = {"layers": 2, "width": 128, "rows": 400, "length": 0, "device": "cuda"}
    for name in steps.STEPS:
        session = steps.Session(dataclasses.replace(steps.STEPS[name], batch=16), size)
        before = session.model.classifier.weight.detach().clone()
        assert sum(len(rows) for rows, _ in session.epoch(60.0)) == 400, name
        sizes = [s for s, _ in session.epoch(60.0)]
        assert len(sizes) == 25 and not torch.equal(before, session.model.classifier.weight), name


def test_bf16_is_what_auto_means_here():
    assert torch.cuda.is_bf16_supported(including_emulation=False)
    history, _ = trained(Config(epochs=1, batch_size=8, lr=3e-3))
    assert len(history.step_loss) == 6

"""replay: what a batch for a GPU is; tests/gpu has what only a GPU does."""

import math

import torch

from kltools import finetune, replay
from tests.kltools import test_checkpoint as toy


def test_a_mask_that_is_added_is_the_mask(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    model, train, _ = toy.toy()
    model.eval()
    batch = finetune.collate(sorted(train[:3], key=lambda x: len(x["input_ids"])))
    T = batch["input_ids"].shape[1]
    got = replay.for_gpu(batch)
    mask = got["attention_mask"]
    n = [int(x) for x in batch["attention_mask"].sum(1)]
    assert mask.shape == (3, 1, 1, T) and mask.dtype == torch.float32 and n[0] < T
    assert mask[:, 0, 0].tolist() == [[0.0] * k + [-math.inf] * (T - k) for k in n]
    with torch.no_grad(), replay.any_length():
        logits = [model(b["input_ids"], b["attention_mask"]).logits for b in (batch, got)]
    torch.testing.assert_close(*logits, rtol=1e-6, atol=1e-6)
    assert batch["attention_mask"].shape == (3, T)  # the batch itself is left as it was

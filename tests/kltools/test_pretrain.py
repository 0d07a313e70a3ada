"""pretrain: counts by hand, masks counted, models that see what they may, and a tiny run."""

import collections
import functools
import json
import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from kltools import pretrain, record, tiers

TINY = pretrain.Config(
    layers=1,
    width=16,
    heads=2,
    length=16,
    batch=8,
    steps=8,
    every=4,
    lr=0.02,
    held=0.1,
    books=("blake-poems",),
)


@pytest.fixture(autouse=True)
def cpu_tier(monkeypatch):
    for name in ("KLTOOLS_TIER", "KLTOOLS_MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_counts_by_hand(monkeypatch):
    monkeypatch.setattr(pretrain, "V", 6)
    train = np.array([0, 1, 0, 2, 0, 1, 1, 3])  # 4 and 5 are never seen, 3 never before another
    single = {a: Fraction((train == a).sum().item()) for a in range(6)}
    alone = {a: (single[a] + Fraction(4, 6)) / (8 + 4) for a in single}
    after = collections.defaultdict(list)
    for a, b in zip(train.tolist(), train.tolist()[1:]):
        after[a].append(b)
    before, token = np.divmod(np.arange(36), 6)
    want = []
    for a, b in zip(before.tolist(), token.tolist()):
        n, k = len(after[a]), len(set(after[a]))
        want.append((after[a].count(b) + k * alone[b]) / (n + k) if n else alone[b])
    got_alone, got = pretrain.counted(train, before, token)
    assert got_alone == pytest.approx([float(alone[b]) for b in token.tolist()], rel=1e-12)
    assert got == pytest.approx([float(w) for w in want], rel=1e-12)
    assert got.reshape(6, 6).sum(1) == pytest.approx(np.ones(6), rel=1e-12)
    assert got[1] == pytest.approx((2 + 2 * (3 + 4 / 6) / 12) / 5, rel=1e-12)  # q(1 | 0)


def test_what_is_asked():
    x = torch.randint(2000, 30000, (200, 64), generator=torch.Generator().manual_seed(1))
    old, rng = x.clone(), torch.Generator().manual_seed(2)
    inputs, asked = pretrain.question(x, True, rng)
    assert asked.all() and (inputs[:, 0] == 101).all() and (inputs[:, 1:] == x[:, :-1]).all()
    inputs, asked = pretrain.question(x, False, rng)
    assert (x == old).all() and (inputs[~asked] == x[~asked]).all()
    i, y = inputs[asked], x[asked]
    shares = {0.15: asked, 0.8: i == 103, 0.1: i == y}
    for share, hit in shares.items():
        sd = (share * (1 - share) / hit.numel()) ** 0.5
        assert abs(hit.double().mean().item() - share) < 5 * sd, share
    drawn = i[(i != y) & (i != 103)]
    assert len(drawn.unique()) > 0.9 * len(drawn) and drawn.min() >= 999


@pytest.mark.parametrize("causal", [True, False])
def test_a_new_model(causal):
    model = pretrain.network(TINY, causal, seed=0).eval()
    x = torch.randint(2000, 30000, (16, 16), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        nats = pretrain.surprise(model, x, torch.Generator().manual_seed(3))
        inputs, asked = pretrain.question(x, causal, torch.Generator().manual_seed(3))
        p = model(input_ids=inputs).logits.double().softmax(-1)
        assert nats.tolist() == pytest.approx(
            [-math.log(row[t]) for row, t in zip(p[asked], x[asked])], rel=1e-4
        )
        other = inputs.clone()
        other[:, -1] = 1500
        change = (model(input_ids=other).logits - model(input_ids=inputs).logits).abs().amax((0, 2))
    assert change[-1] > 1e-3 and (change[0] == 0 if causal else change[0] > 1e-6)
    assert pretrain.evaluate(model, x, 8) == pytest.approx(math.log(30522), abs=0.1)
    assert model.training  # evaluate is called in the midst of training
    again = pretrain.network(TINY, causal, seed=0).state_dict()
    assert all(torch.equal(w, again[k]) for k, w in model.state_dict().items())


def test_the_books_are_cut_once():
    from tokenizers import Tokenizer

    train, held, per_byte = pretrain.read(TINY)
    tokenizer = Tokenizer.from_file(str(tiers.fetch("encoder") / "tokenizer.json"))
    tokenizer.no_truncation()
    text = (tiers.fetch("books") / "blake-poems.txt").read_text("latin-1")
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    flat = train.flatten().tolist()
    assert flat == ids[: len(flat)]
    words = (tiers.fetch("encoder") / "vocab.txt").read_text().split("\n")
    assert words[101] == "[CLS]" and words[103] == "[MASK]" and words[999] == "!"
    assert words[998].startswith("[unused") and len(words) - 1 == pretrain.V
    n = held.numel()
    at = [k for k in range(len(ids) - n + 1) if ids[k : k + n] == held.flatten().tolist()]
    assert len(at) == 1 and 0 <= at[0] - len(flat) < 16 and len(ids) - at[0] - n < 16
    tail = text[text.find("\n", int(0.9 * len(text))) :]
    size = len(" ".join(tail.lower().split()))
    assert per_byte == pytest.approx((len(ids) - at[0]) / size, rel=1e-12)
    assert 0.09 < (len(ids) - at[0]) / len(ids) < 0.11


def test_a_run_makes_a_record(monkeypatch):
    tiny = functools.partial(pretrain.run, device="cpu", config=TINY)
    monkeypatch.setattr(pretrain, "run", tiny)
    made = json.loads(json.dumps(record.make("language-modelling-gpu", [0, 1])))
    record.validate(made)
    metrics, base = made["metrics"], made["baselines"]
    for name in ("causal", "masked"):
        for seed in (0, 1):
            curve = [metrics[f"{name} / loss / {step}"][seed] for step in (0, 4, 8)]
            assert abs(curve[0] - math.log(30522)) < 0.1 and curve[2] < curve[1] < curve[0]
    loss = np.array(metrics["causal / loss / 8"])
    assert np.log(metrics["causal / perplexity / 8"]) == pytest.approx(loss)
    bits = np.array(metrics["causal / bits per byte / 8"])
    assert bits == pytest.approx(np.log2(np.exp(loss)) * pretrain.read(TINY)[2])
    assert base["bigram"] < base["unigram"] < base["uniform"]
    assert pretrain.fit(TINY, pretrain.read(TINY)[:2], True, 1, "cpu")[8] == loss[1]
    train, held, _ = pretrain.read(TINY)
    assert made["data"]["rows"] == {"train": len(train), "held": len(held)}


def test_bad_calls(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="kind: expected short for this run, got 'long'"):
        record.make("language-modelling-gpu", [0], "long")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"expected a GPU \(CUDA\) for this run, got none"):
        record.make("language-modelling-gpu", [0])
    monkeypatch.setattr(pretrain, "V", 7)
    with pytest.raises(ValueError, match="expected 7 tokens, got 30522"):
        pretrain.read(TINY)

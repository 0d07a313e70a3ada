"""finetune: rows, splits, batches, loop, evaluation, on a tiny BERT built here; no network."""

import json
import socket

import numpy as np
import pandas as pd
import pytest
import torch

from kltools import divergences, finetune, reviews, tiers
from kltools.finetune import Config
from kltools.model import freeze

GOOD = ["good", "fine", "great", "lovely", "charming", "moving", "funny", "wise"]
BAD = ["bad", "dull", "awful", "stale", "clumsy", "boring", "empty", "lame"]
REST = [
    "a",
    "the",
    "film",
    "movie",
    "plot",
    "is",
    "was",
    "and",
    "very",
    "so",
    "this",
    "it",
    "actor",
    "scene",
    "music",
    "story",
]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Any connection fails the test, also one that a library would swallow and retry."""
    reached = []

    def refuse(*args, **kwargs):
        reached.append(args)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("KLTOOLS_TIER", "KLTOOLS_MODEL", "KLTOOLS_REVIEWS"):
        monkeypatch.delenv(name, raising=False)
    yield
    assert not reached


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A small random BERT without a head, in the hub's layout, with its WordPiece vocabulary."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("hub") / "tiny-bert"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *GOOD, *BAD, *REST, "##s", ",", "."]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizerFast.from_pretrained(folder, model_max_length=32)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {
        p.name for p in folder.iterdir()
    }
    return str(folder)


@pytest.fixture
def tiny(checkpoint, monkeypatch):
    """The tier's encoder is the tiny checkpoint."""
    monkeypatch.setenv("KLTOOLS_MODEL", checkpoint)
    return finetune.load_model(Config())


def toy_rows(n: int, seed: int = 0) -> pd.DataFrame:
    """Sentences with one or two words that decide the label."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        label = i % 2
        words = list(rng.choice(REST, int(rng.integers(3, 9))))
        for word in rng.choice(GOOD if label else BAD, 2):
            words.insert(int(rng.integers(0, len(words) + 1)), str(word))
        texts.append(" ".join(words))
        labels.append(label)
    return pd.DataFrame({"text": texts, "label": labels})


# --- rows -----------------------------------------------------------------------------------


def write(path, text):
    path.write_text(text, encoding="utf8")
    return str(path)


def test_csv(tmp_path):
    path = write(tmp_path / "mine.csv", 'text,label,other\n"so, good",1,x\nnull,0,y\n')
    rows = finetune.load_reviews(path=path)
    assert rows.to_dict("list") == {
        "text": ["so, good", "null"],
        "label": [1, 0],
        "split": ["train", "train"],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,stars\ngood,5\n", "mine.csv: expected columns text and label, got text, stars"),
        ("label\n1\n", "mine.csv: expected columns text and label, got label"),
        ("text,label\ngood,1\n,0\n", "mine.csv, row 2, column text: expected a text, got ''"),
        ("text,label\n  ,1\n", "mine.csv, row 1, column text: expected a text, got '  '"),
        ("text,label\na,1\nb,2\n", "mine.csv, row 2, column label: expected one of 0, 1, got '2'"),
        ("text,label\na,-1\n", "row 1, column label: expected one of 0, 1, got '-1'"),
        ("text,label\na,positive\n", "row 1, column label: expected one of 0, 1, got 'positive'"),
        ("text,label\na,0.5\nb,1\n", "row 1, column label: expected one of 0, 1, got '0.5'"),
        ("text,label\na,1\nb,\n", "row 2, column label: expected one of 0, 1, got ''"),
    ],
)
def test_bad_csv(tmp_path, content, message):
    with pytest.raises(ValueError) as e:
        finetune.load_reviews(path=write(tmp_path / "mine.csv", content))
    assert message in str(e.value)


def test_more_classes(tmp_path):
    path = write(tmp_path / "mine.csv", "text,label\na,2\n")
    assert list(finetune.load_reviews(path=path, labels=3)["label"]) == [2]


def test_missing_text_in_a_frame():
    with pytest.raises(ValueError, match="rows, row 2, column text"):
        reviews.check_rows(pd.DataFrame({"text": ["a", None], "label": [0, 1]}))


def test_normalize():
    assert reviews.normalize("  It's GREAT -- a must-see!\n") == "it s great a must see"
    assert reviews.normalize("…!?") == ""


def test_related():
    others = ["a rather fine film by any measure"]
    related = {
        "a rather fine film by any measure": True,  # a copy
        "a rather fine": True,  # the beginning, three words
        "a rather": False,  # too short to say anything
        "by any measure": True,  # the end
        "fine film by": False,  # the middle
        "rather a fine film": False,
        "yes a rather fine film by any measure": True,  # the other is its end
        "a rather fine film by any measure indeed": True,
        "a rather finer film by any measure": False,
        "a rather fine fil": False,  # words, not letters
    }
    assert reviews.related(list(related), others) == list(related.values())
    assert reviews.related(["a rather"], others, least=2) == [True]
    assert reviews.related(["good"], ["good"]) == [True]  # copies count at any length
    assert reviews.related([], others) == [] and reviews.related(["a"], []) == [False]


def naive_related(texts, others, least=3):
    """The definition, pair by pair."""

    def touch(a, b):
        a, b = sorted((a.split(), b.split()), key=len)
        n = len(a)
        return a == b or (n >= least and (b[:n] == a or b[len(b) - n :] == a))

    return [any(touch(t, o) for o in others) for t in texts]


def test_related_against_all_pairs():
    rng = np.random.default_rng(1)
    draw = [" ".join(rng.choice(list("abc"), rng.integers(1, 8))) for _ in range(240)]
    for least in (1, 3, 4):
        got = reviews.related(draw[:200], draw[200:], least)
        assert got == naive_related(draw[:200], draw[200:], least)
        assert least == 1 or 10 < sum(got) < 190


def test_split():
    rows = toy_rows(400)
    copies = rows.assign(text=rows["text"].str.upper() + " !")
    ends = rows.assign(text="nobody said " + rows["text"])
    everything = reviews.check_rows(pd.concat([rows, copies, ends], ignore_index=True))
    parts = finetune.split(everything, train=100, validation=60, test=80)
    frames = [parts.train, parts.validation, parts.test]
    assert [len(f) for f in frames] == [100, 60, 80]
    assert all(f["label"].mean() == 0.5 for f in frames)  # stratified
    keys = [[reviews.normalize(t) for t in f["text"]] for f in frames]
    for i in range(3):
        for j in range(i):
            assert not any(naive_related(keys[i], keys[j]))
    assert parts.dropped["copies"] >= 400
    # Nearly each held-out row has its longer or shorter twin in the pool.
    assert parts.dropped["overlaps"] > 100
    # No row is lost from the count when all the rest is training.
    rest = finetune.split(everything, validation=60, test=80)
    assert len(rest.train) + 140 + sum(rest.dropped.values()) == 1200


def test_split_is_deterministic():
    rows = reviews.check_rows(toy_rows(300))
    first = finetune.split(rows, train=50, validation=30, test=40)
    shuffled = rows.sample(frac=1, random_state=0)
    again = finetune.split(shuffled, train=50, validation=30, test=40)
    other = finetune.split(rows, train=50, validation=30, test=40, seed=1)
    larger = finetune.split(rows, train=90, validation=30, test=40)
    for name in ("train", "validation", "test"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(again, name))
        assert not getattr(first, name).equals(getattr(other, name))
    pd.testing.assert_frame_equal(first.test, larger.test)
    assert set(first.train["text"]) <= set(larger.train["text"])


def test_split_of_rows_with_a_repeated_index():
    rows = reviews.check_rows(pd.concat([toy_rows(100), toy_rows(100, seed=1)]))
    parts = finetune.split(rows, validation=30, test=40)
    assert len(parts.train) + 70 + sum(parts.dropped.values()) == 200


def test_split_keeps_the_sources_test_rows():
    rows = reviews.check_rows(toy_rows(200))
    rows.loc[rows.index < 40, "split"] = "test"
    copy = rows.iloc[[0]].assign(split="train")
    parts = finetune.split(pd.concat([copy, rows], ignore_index=True), validation=20)
    assert set(parts.test["text"]) <= set(rows["text"][:40])
    assert copy["text"].iloc[0] in set(parts.test["text"])  # the held-out copy stays
    assert not set(parts.train["text"]) & set(rows["text"][:40])
    assert len(finetune.split(rows, validation=20, test=10).test) == 10


def test_split_of_too_few_rows():
    rows = reviews.check_rows(toy_rows(50))
    with pytest.raises(ValueError, match="test: expected a size of at most"):
        finetune.split(rows, validation=10, test=60)
    with pytest.raises(ValueError, match="train: expected a size of at most"):
        finetune.split(rows, train=45, validation=10, test=10)
    with pytest.raises(ValueError, match="test: expected a size"):  # nothing is held out
        finetune.split(rows, validation=10)


def test_split_is_stratified_when_classes_are_uneven():
    rows = reviews.check_rows(toy_rows(400))
    rows = rows[(rows["label"] == 1) | (rows.index % 8 == 0)]  # 200 to 50
    parts = finetune.split(rows, train=100, validation=50, test=50)
    for frame in (parts.train, parts.validation, parts.test):
        assert abs(frame["label"].mean() - rows["label"].mean()) < 0.03


# --- batches --------------------------------------------------------------------------------


def test_encode_cuts_and_counts(tiny):
    _, tokenizer = tiny
    rows = pd.DataFrame({"text": ["good film", " ".join(["dull"] * 100)], "label": [1, 0]})
    data, cut = finetune.encode(rows, tokenizer, max_length=12)
    assert cut == 1 and [len(x["input_ids"]) for x in data] == [4, 12]
    for x in data:
        assert x["input_ids"][0] == tokenizer.cls_token_id
        assert x["input_ids"][-1] == tokenizer.sep_token_id
    truncated = tokenizer(list(rows["text"]), truncation=True, max_length=12)["input_ids"]
    assert [x["input_ids"] for x in data] == truncated  # the tokenizer's own truncation


def test_encode_longer_than_the_model(tiny, capfd):
    model, tokenizer = tiny
    rows = pd.DataFrame({"text": [" ".join(["dull"] * 100)], "label": [0]})
    with pytest.raises(ValueError, match="max_length: expected 3 … 32, got 33"):
        finetune.encode(rows, tokenizer, max_length=33)
    data, cut = finetune.encode(rows, tokenizer, max_length=32)
    assert cut == 1 and finetune.evaluate(model, data)["count"] == 1
    assert capfd.readouterr().err == ""


def test_collate():
    batch = [{"input_ids": [2, 7, 3], "label": 1}, {"input_ids": [2, 7, 8, 9, 3], "label": 0}]
    out = finetune.collate(batch, pad=5)
    assert out["input_ids"].tolist() == [[2, 7, 3, 5, 5], [2, 7, 8, 9, 3]]
    assert out["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert out["labels"].tolist() == [1, 0]
    assert all(v.dtype == torch.int64 for v in out.values())


def test_padding_does_not_change_the_logits(tiny):
    model, tokenizer = tiny
    model = model.double()
    data, _ = finetune.encode(toy_rows(12), tokenizer, max_length=32)
    assert len({len(x["input_ids"]) for x in data}) > 3
    pad = tokenizer.pad_token_id

    def logits(batch, **change):
        inputs = finetune.collate(batch, pad) | change
        inputs.pop("labels")
        with torch.no_grad():
            return model(**inputs).logits

    together = logits(data)
    alone = torch.cat([logits([x]) for x in data])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    # And the mask is what does it: without it the padded rows differ.
    ones = torch.ones_like(finetune.collate(data, pad)["attention_mask"])
    assert (logits(data, attention_mask=ones) - alone).abs().max() > 1e-6
    # Evaluation in sorted batches gives back the order of the rows.
    seen = finetune.evaluate(model, data, pad=pad, size=5)
    want = torch.softmax(alone, -1)
    np.testing.assert_allclose(seen["probabilities"], want.numpy(), atol=1e-12)


def test_batches():
    rng = np.random.default_rng(0)
    lengths = np.minimum(3 + rng.geometric(0.06, 1000), 64).tolist()
    for seed in (None, 0, 1):
        plan = finetune.batches(lengths, 32, seed=seed, window=10)
        assert sorted(i for rows in plan for i in rows) == list(range(1000))
        assert max(map(len, plan)) == 32
    assert finetune.batches(lengths, 32, seed=0) == finetune.batches(lengths, 32, seed=0)
    assert finetune.batches(lengths, 32, seed=0) != finetune.batches(lengths, 32, seed=1)

    def waste(plan):
        return sum(len(rows) * max(lengths[i] for i in rows) for rows in plan) / sum(lengths)

    chance = [rng.permutation(1000)[i : i + 32].tolist() for i in range(0, 1000, 32)]
    assert waste(finetune.batches(lengths, 32, seed=0)) < 1.06 < 1.8 < waste(chance)
    # Long and short batches come in random order, not sorted by length.
    longest = [max(lengths[i] for i in rows) for rows in finetune.batches(lengths, 32, seed=0)]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


# --- model ----------------------------------------------------------------------------------


def test_load_model(checkpoint, monkeypatch, capfd):
    """The path of `bert-base-uncased`: the same code, another name."""
    from huggingface_hub import constants
    from transformers import BertForSequenceClassification, BertModel

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the tier itself must not ask
    model, tokenizer = finetune.load_model(Config(dropout=0.25), name=checkpoint, labels=3)
    assert capfd.readouterr().err == ""
    assert isinstance(model, BertForSequenceClassification) and not model.training
    assert model.classifier.weight.shape == (3, 32) and tokenizer.model_max_length == 32
    assert model.config.hidden_dropout_prob == model.config.attention_probs_dropout_prob == 0.25
    body = BertModel.from_pretrained(checkpoint).state_dict()
    for name, p in model.bert.state_dict().items():
        assert torch.equal(p, body[name]), name
    # The head: NumPy's float64 numbers, by hand.
    want = 0.02 * np.random.default_rng(0).standard_normal((3, 32))
    np.testing.assert_array_equal(model.classifier.weight.detach(), want.astype(np.float32))
    assert not model.classifier.bias.any()
    again, _ = finetune.load_model(Config(seed=1), name=checkpoint, labels=3)
    assert not torch.equal(model.classifier.weight, again.classifier.weight)
    double, _ = finetune.load_model(Config(precision="fp64"), name=checkpoint)
    assert {p.dtype for p in double.parameters()} == {torch.float64}


def test_cpu_tier_never_asks_the_hub(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(tiers.TiersError, match="no/such-model"):
        finetune.load_model(name="no/such-model")  # the fixture fails if a socket was opened


def test_hub_missing_names_the_embedded_default(monkeypatch):
    monkeypatch.setenv("KLTOOLS_TIER", "gpu")
    with pytest.raises(tiers.TiersError, match="KLTOOLS_TIER=cpu") as e:
        finetune.load_model()
    assert "'bert-base-uncased' cannot be loaded" in str(e.value)


def test_freeze(tiny):
    model, _ = tiny
    total = sum(p.numel() for p in model.parameters())
    layer = sum(p.numel() for p in model.bert.encoder.layer[0].parameters())
    embeddings = sum(p.numel() for p in model.bert.embeddings.parameters())
    assert freeze(model, "embeddings") == total - embeddings
    assert freeze(model, "lower-half") == total - embeddings - layer
    assert freeze(model, "all-but-head") == 2 * 32 + 2
    assert freeze(model, "none") == total
    with pytest.raises(ValueError, match=r"freeze: expected one of none, .* got 'some'"):
        freeze(model, "some")


# --- loop -----------------------------------------------------------------------------------


def test_divergence_is_kl_of_the_label():
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    label = torch.full((5, 3), -torch.inf, dtype=torch.float64)
    label[range(5), labels] = 0.0  # log of a one-hot distribution
    want = divergences.kl(label, torch.log_softmax(logits, -1)).sum()
    total, count = finetune.divergence(logits, labels)
    assert count == 5
    torch.testing.assert_close(total, want, rtol=1e-12, atol=0)
    # Extreme logits: 80 nats, not inf, and a gradient.
    z = torch.tensor([[80.0, 0.0]], requires_grad=True)
    total, _ = finetune.divergence(z, torch.tensor([1]))
    total.backward()
    assert total.item() == 80 and z.grad.tolist() == [[1.0, -1.0]]


def test_schedule():
    got = [finetune.schedule(s, 10, 4) for s in range(11)]
    assert got[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert got[4:] == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0])
    assert min(got[:10]) > 0  # no step is wasted at rate 0
    assert finetune.schedule(0, 1, 0) == 1


def prepared(tiny, n=96, seed=0):
    model, tokenizer = tiny
    train, _ = finetune.encode(toy_rows(n, seed), tokenizer, 32)
    held, _ = finetune.encode(toy_rows(40, seed + 1), tokenizer, 32)
    return model, train, held


TOY = Config(epochs=6, batch_size=8, lr=3e-3, max_length=32)


def test_fit_learns_a_toy(tiny):
    model, train, held = prepared(tiny)
    before = finetune.evaluate(model, held)
    history = finetune.fit(model, train, held, TOY)
    after = finetune.evaluate(model, held)
    assert abs(before["loss"] - np.log(2)) < 0.1  # an untrained head knows nothing
    assert after["loss"] < 0.2 and after["accuracy"] > 0.9
    assert history.train_loss[-1] < 0.3 * history.train_loss[0]
    steps = len(history.train_loss) * 12
    assert len(history.lr) == len(history.step_loss) == len(history.step_rows) == steps
    assert max(history.lr) == pytest.approx(TOY.lr, rel=0.05) and history.lr[-1] < 0.1 * TOY.lr
    # The epoch's loss is the mean over rows.
    mean = np.average(history.step_loss[:12], weights=history.step_rows[:12])
    assert history.train_loss[0] == pytest.approx(mean)
    assert not model.training


def test_fit_repeats(checkpoint):
    def go(**change):
        config = Config(epochs=1, batch_size=8, lr=3e-3, dropout=0.1, **change)
        tiny = finetune.load_model(config, name=checkpoint)
        model, train, held = prepared(tiny)
        return finetune.fit(model, train, held, config).step_loss

    first = go()
    assert first == go() and first != go(seed=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_precision(checkpoint, precision):
    """One precision after another in one process."""
    config = Config(epochs=4, batch_size=8, lr=3e-3, max_length=32, precision=precision)
    model, train, held = prepared(finetune.load_model(config, name=checkpoint))
    history = finetune.fit(model, train, held, config)
    kept = torch.float64 if precision == "fp64" else torch.float32
    assert {p.dtype for p in model.parameters()} == {kept}  # bf16 is for the products only
    assert history.validation_loss[history.best_epoch] < 0.4
    with torch.no_grad():
        product = model(**{k: v for k, v in finetune.collate(held).items() if k != "labels"}).logits
    assert product.dtype == (torch.float64 if precision == "fp64" else torch.float32)


def test_an_apple_gpu_is_not_used(tiny, monkeypatch):
    """Accelerate would take it, and `evaluate` wants float64, which it does not have."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    monkeypatch.setattr("accelerate.state.is_mps_available", lambda: True)
    model, train, held = prepared(tiny, n=9)
    finetune.fit(model, train, held, Config(epochs=1, batch_size=8))
    assert model.device.type in ("cpu", "cuda")


def test_fifty_steps_are_those_of_the_trainer(checkpoint, tmp_path):
    """HF Trainer on the same batches, with the same optimizer and rates: the same losses."""
    from transformers import Trainer, TrainingArguments

    config = Config(epochs=5, batch_size=8, lr=3e-3, max_length=32, patience=9)
    model, train, held = prepared(finetune.load_model(config, name=checkpoint), n=80)
    own = finetune.fit(model, train, held, config).step_loss
    model, train, held = prepared(finetune.load_model(config, name=checkpoint), n=80)
    lengths = [len(x["input_ids"]) for x in train]
    plan = [b for e in range(5) for b in finetune.batches(lengths, 8, seed=e)]
    theirs = []

    class Same(Trainer):
        def get_train_dataloader(self):
            return torch.utils.data.DataLoader(
                [[train[i] for i in rows] for rows in plan], collate_fn=lambda one: one[0]
            )

        def _prepare_inputs(self, rows):
            return finetune.collate(rows)

        def compute_loss(self, model, inputs, **kwargs):
            loss = super().compute_loss(model, inputs, **kwargs)
            theirs.append(float(loss.detach()))
            return loss

    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": decay, "weight_decay": config.weight_decay}]
    groups += [{"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, fused=True)
    warmup = -(-len(plan) // 10)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: finetune.schedule(s, len(plan), warmup)
    )
    options = TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, max_grad_norm=config.clip, use_cpu=True,
        save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    Same(model, options, train_dataset=train, optimizers=(optimizer, rate)).train()
    assert len(own) == len(theirs) == 50
    np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-5)
    assert np.ptp(own) > 0.01  # fifty different losses, not one


def test_uneven_last_batch_is_not_overweighted(tiny):
    """9 rows in batches of 8: the mean is over rows, not over batches."""
    model, train, held = prepared(tiny, n=9)
    history = finetune.fit(model, train, held, Config(epochs=1, batch_size=8, lr=1e-9))
    assert sorted(history.step_rows) == [1, 8]
    with torch.no_grad():
        total, count = 0.0, 0
        for x in train:
            inputs = finetune.collate([x])
            labels = inputs.pop("labels")
            loss, n = finetune.divergence(model(**inputs).logits, labels)
            total, count = total + float(loss), count + n
    assert history.train_loss[0] == pytest.approx(total / count, abs=1e-5)
    assert abs(np.mean(history.step_loss) - total / count) > 1e-4  # the mean of means is another


def test_early_stopping_restores_the_best_weights(tiny, monkeypatch):
    model, train, held = prepared(tiny)
    states, real = [], finetune.evaluate
    losses = iter([0.6, 0.5, 0.55, 0.52, 0.4])  # the second epoch is best; patience 2

    def scripted(live, data, **kwargs):
        states.append({k: v.clone() for k, v in model.state_dict().items()})
        return real(live, data, **kwargs) | {"loss": next(losses)}

    monkeypatch.setattr(finetune, "evaluate", scripted)
    config = Config(epochs=5, batch_size=8, lr=3e-3, patience=2)
    history = finetune.fit(model, train, held, config)
    assert history.validation_loss == [0.6, 0.5, 0.55, 0.52]
    assert history.best_epoch == 1 and history.stopped_early
    final = model.state_dict()
    assert all(torch.equal(v, final[k]) for k, v in states[1].items())
    assert any(not torch.equal(v, final[k]) for k, v in states[3].items())


@pytest.mark.parametrize("what", ["embeddings", "lower-half", "all-but-head"])
def test_frozen_weights_stay_bit_identical(checkpoint, what):
    config = Config(epochs=1, batch_size=8, lr=3e-3, freeze=what, dropout=0.1)
    model, train, held = prepared(finetune.load_model(config, name=checkpoint))
    before = {k: v.detach().clone() for k, v in model.named_parameters()}
    finetune.fit(model, train, held, config)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) == (not p.requires_grad), name
        assert p.requires_grad or p.grad is None


def test_weight_decay_spares_vectors(tiny, monkeypatch):
    model, train, held = prepared(tiny, n=8)
    seen = []
    real = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda g, **k: seen.extend(g) or real(g, **k))
    finetune.fit(model, train, held, Config(epochs=1, weight_decay=0.3))
    names = {id(p): n for n, p in model.named_parameters()}
    decayed, spared = ({names[id(p)] for p in g["params"]} for g in seen)
    assert [g["weight_decay"] for g in seen] == [0.3, 0.0]
    assert decayed | spared == set(names.values()) and not decayed & spared
    assert all(n.endswith("bias") or "LayerNorm" in n for n in spared)
    assert not any(n.endswith("bias") or "LayerNorm" in n for n in decayed)


def test_gradients_are_clipped(tiny, monkeypatch):
    model, train, held = prepared(tiny, n=8)
    norms = []
    real = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        norms.append(torch.stack([g.norm() for g in grads]).norm().item())
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    finetune.fit(model, train, held, Config(epochs=1, clip=1e-3))
    assert norms == pytest.approx([1e-3] * len(norms), rel=1e-2)


def test_the_step_follows_the_gradient_of_the_mean(tiny, monkeypatch):
    model, train, held = prepared(tiny, n=8)
    inputs = finetune.collate(train)
    labels = inputs.pop("labels")
    mean = torch.nn.functional.cross_entropy(model(**inputs).logits, labels)
    want = torch.autograd.grad(mean, model.classifier.weight)[0]
    seen = []
    real = torch.optim.AdamW.step

    def spy(self, *args, **kwargs):
        seen.append(model.classifier.weight.grad.clone())
        return real(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    finetune.fit(model, train, held, Config(epochs=1, clip=1e9))
    torch.testing.assert_close(seen[0], want, rtol=1e-4, atol=1e-7)


def test_loss_that_is_not_finite(tiny):
    model, train, held = prepared(tiny, n=8)
    with torch.no_grad():
        model.classifier.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss: expected a finite number, got nan"):
        finetune.fit(model, train, held, Config(epochs=1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "fp8"}, "precision: expected auto, fp32, bf16 or fp64, got 'fp8'"),
        ({"epochs": 0}, "epochs: expected more than 0, got 0"),
        ({"lr": -1e-4}, "lr: expected more than 0"),
        ({"batch_size": 0}, "batch_size: expected more than 0"),
    ],
)
def test_bad_config(change, message):
    with pytest.raises(ValueError, match=message):
        Config(**change)


def test_evaluate_has_no_graph_and_no_dropout(checkpoint):
    tiny = finetune.load_model(Config(dropout=0.5), name=checkpoint)
    model, _, held = prepared(tiny)
    model.train()
    grads = []
    model.register_forward_hook(lambda m, i, o: grads.append(o.logits.requires_grad))
    first, second = finetune.evaluate(model, held), finetune.evaluate(model, held)
    assert grads and not any(grads)
    assert first["loss"] == second["loss"] and model.training  # the mode is given back
    assert all(p.grad is None for p in model.parameters())


def test_evaluate_counts(tiny):
    """Accuracy and loss are over rows, for any size of batch (90 of 100, not 12.857)."""
    model, _, held = prepared(tiny)
    want = finetune.evaluate(model, held, size=1)
    for size in (7, 16, 1000):
        got = finetune.evaluate(model, held, size=size)
        assert got["accuracy"] == want["accuracy"] and got["count"] == 40
        assert got["loss"] == pytest.approx(want["loss"], rel=1e-6)
    truth = np.array([x["label"] for x in held])
    assert want["accuracy"] == (want["predictions"] == truth).mean()
    np.testing.assert_array_equal(want["predictions"], want["probabilities"].argmax(-1))
    by_hand = -np.log(want["probabilities"][range(40), truth]).mean()
    assert want["loss"] == pytest.approx(by_hand, rel=1e-12)
    np.testing.assert_allclose(want["probabilities"].sum(-1), 1, rtol=1e-12)


# --- baselines and the whole run ------------------------------------------------------------


def test_baselines():
    train, validation, test = toy_rows(200), toy_rows(50, seed=2), toy_rows(100, seed=1)
    got = finetune.tfidf_baseline(train, validation, test)
    assert got["accuracy"] > 0.95 and got["accuracy"] == (got["predictions"] == test.label).mean()
    assert 0 < got["loss"] < np.log(2) and got["ngrams"] in (1, 2)
    uneven = train[(train["label"] == 1) | (train.index < 50)]
    majority = finetune.majority_baseline(uneven, test)
    assert majority["accuracy"] == 0.5 and set(majority["predictions"]) == {1}


def test_defaults(monkeypatch):
    config, sizes = finetune.defaults()
    assert config == Config() and set(sizes) == {"train", "validation", "test"}
    monkeypatch.setenv("KLTOOLS_TIER", "gpu")
    config, sizes = finetune.defaults()
    assert config.lr == 2e-5 and sizes["train"] is None


def test_command_line(checkpoint, monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("KLTOOLS_MODEL", checkpoint)
    path = tmp_path / "mine.csv"
    toy_rows(300).to_csv(path, index=False)
    options = "--train 96 --validation 40 --test 60 --epochs 4 --lr 0.003 --batch-size 8"
    finetune.main([*options.split(), "--max-length", "32", "--csv", str(path)])
    out, err = capfd.readouterr()
    assert "rows: 96 train, 40 validation, 60 test" in out and err == ""  # no bar in a pipe
    assert "best epoch" in out and "TF-IDF: " in out
    with pytest.raises(SystemExit) as e:
        finetune.main(["--help"])
    assert e.value.code == 0 and "--weight-decay" in capfd.readouterr().out


def test_gpu_tier_runs_on_local_files_in_the_hubs_layout(checkpoint, monkeypatch, tmp_path, capfd):
    """The same command in tier gpu: data through `datasets`, the checkpoint by its folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    folder = tmp_path / "sst2" / "data"
    folder.mkdir(parents=True)
    for name, n, seed in (("train", 200, 0), ("validation", 60, 1)):
        rows = toy_rows(n, seed).rename(columns={"text": "sentence"})
        rows.assign(idx=range(n)).to_parquet(folder / f"{name}-00000-of-00001.parquet")
    monkeypatch.setenv("KLTOOLS_TIER", "gpu")
    monkeypatch.setenv("KLTOOLS_MODEL", checkpoint)
    monkeypatch.setenv("KLTOOLS_REVIEWS", str(folder.parent))
    options = "--validation 40 --epochs 1 --lr 0.003 --max-length 32 --precision fp32"
    finetune.main(options.split())
    assert "test; dropped" in capfd.readouterr().out


def test_import_is_light():
    """The heavy libraries come with the functions that need them."""
    import subprocess
    import sys

    code = "import sys, json, kltools.finetune; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    heavy = {"transformers", "datasets", "accelerate", "pandas", "sklearn", "matplotlib"}
    assert not heavy & set(json.loads(out))

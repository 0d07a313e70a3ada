"""Two language models from scratch on the 18 books, one causal and one masked.

``python -m kltools.record language-modelling-gpu`` runs this; the chapter *Language models are KL
fits* shows the record. Both models are BERT's network with the same sizes and the same weights at
the start. They differ in what a position may see and in which tokens are asked for. Losses are
means of −log q(token) over the tokens asked for, in nats.
"""

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kltools import tiers
from kltools.finetune import schedule

CLS, MASK, ORDINARY = 101, 103, 999  # of BERT: special and unused ids come before "!"
V = 30522


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of both models and of their training; ``held`` is the last share of each book."""

    layers: int = 4
    width: int = 256
    heads: int = 4
    length: int = 128
    batch: int = 128
    steps: int = 1500
    every: int = 250
    lr: float = 1e-3
    warmup: float = 0.1
    dropout: float = 0.1
    held: float = 0.05
    books: tuple[str, ...] = ()  # none named: all


def read(config: Config) -> tuple[Tensor, Tensor, float]:
    """The books by name, each cut at a line end: token ids [N, L] to train on and held out.

    The last number is held-out tokens a byte. The tokenizer keeps neither case nor runs of
    white space, so the bytes are those of the lower-case text with single spaces.
    """
    from tokenizers import Tokenizer

    folder = Path(os.environ.get("KLTOOLS_MODEL") or tiers.fetch("encoder"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if tokenizer.get_vocab_size() != V:
        raise ValueError(f"{folder}: expected {V} tokens, got {tokenizer.get_vocab_size()}")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lines: tuple[list[str], list[str]] = ([], [])
    for path in sorted(tiers.fetch("books").glob("*.txt")):
        if not config.books or path.stem in config.books:
            text = path.read_text("latin-1")
            cut = text.find("\n", int(len(text) * (1 - config.held)))
            lines[0].extend(text[:cut].splitlines())
            lines[1].extend(text[cut:].splitlines())
    coded = [tokenizer.encode_batch(part, add_special_tokens=False) for part in lines]
    ids = [torch.tensor([i for line in part for i in line.ids]) for part in coded]
    size = len(" ".join(" ".join(lines[1]).lower().split()).encode())
    train, held = (x[: len(x) // config.length * config.length] for x in ids)
    return train.view(-1, config.length), held.view(-1, config.length), len(ids[1]) / size


def counted(train: np.ndarray, before: np.ndarray, token: np.ndarray) -> tuple[np.ndarray, ...]:
    """q(token) and q(token | token before), elementwise, from the counts of ``train`` [N].

    Single tokens are mixed with the uniform law and pairs with single tokens, with the weights
    of Witten and Bell: k/(n + k) for the simpler law if n tokens of k kinds were seen there.
    """
    count = np.bincount(train, minlength=V)
    alone = ((count + (count > 0).sum() / V) / (len(train) + (count > 0).sum()))[token]
    pairs, times = np.unique(train[:-1] * V + train[1:], return_counts=True)
    n, k = (
        np.bincount(train[:-1], minlength=V)[before],
        np.bincount(pairs // V, minlength=V)[before],
    )
    at = np.searchsorted(pairs, before * V + token).clip(max=len(pairs) - 1)
    seen = np.where(pairs[at] == before * V + token, times[at], 0)
    return alone, np.where(n > 0, (seen + k * alone) / np.maximum(n + k, 1), alone)


def network(config: Config, causal: bool, seed: int) -> Any:
    """BERT's network, output layer tied to the embedding, with new weights drawn on the CPU."""
    from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel

    torch.manual_seed(seed)
    drop = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    sizes: Any = dict.fromkeys(drop, config.dropout) | {"vocab_size": V}
    sizes |= {"num_hidden_layers": config.layers, "num_attention_heads": config.heads}
    sizes |= {"hidden_size": config.width, "intermediate_size": 4 * config.width}
    sizes |= {"max_position_embeddings": config.length, "is_decoder": causal, "use_cache": False}
    return (BertLMHeadModel if causal else BertForMaskedLM)(BertConfig(**sizes))


def question(x: Tensor, causal: bool, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """What the model sees, int64 [B, L], and which tokens of ``x`` it is asked for, bool [B, L].

    Causal: [CLS] and all tokens but the last; every token is asked for, each from those before
    it. Masked: 15 % are asked for; of these 80 % show [MASK], 10 % a random token, 10 % stay.
    """
    if causal:
        first = torch.full_like(x[:, :1], CLS)
        return torch.cat([first, x[:, :-1]], 1), torch.ones_like(x, dtype=torch.bool)
    asked, kind = torch.rand(x.shape, generator=rng) < 0.15, torch.rand(x.shape, generator=rng)
    other = torch.randint(ORDINARY, V, x.shape, generator=rng)
    inputs = torch.where(asked & (kind < 0.8), MASK, x)
    return torch.where(asked & (kind >= 0.9), other, inputs), asked


def surprise(model: Any, x: Tensor, rng: torch.Generator) -> Tensor:
    """−log q of each token of ``x`` that is asked for, in nats, in the order of ``x``."""
    device = next(model.parameters()).device
    inputs, asked = question(x, model.config.is_decoder, rng)
    at = asked.flatten().nonzero()[:, 0]
    sent = [inputs, at, x.flatten()[at]]
    if device.type == "cuda":  # from pinned memory a copy does not wait for the steps before it
        sent = [t.pin_memory().to(device, non_blocking=True) for t in sent]
    hidden = model.bert(input_ids=sent[0]).last_hidden_state.flatten(0, 1)
    logits = model.cls(hidden.index_select(0, sent[1]))
    return torch.nn.functional.cross_entropy(logits.float(), sent[2], reduction="none")


@torch.no_grad()
def evaluate(model: Any, held: Tensor, batch: int) -> float:
    """Mean surprise over all blocks of ``held``, in fp32; the masks are the same each time."""
    model.eval()
    rng = torch.Generator().manual_seed(0)
    out = torch.cat([surprise(model, x, rng).double() for x in held.split(batch)]).mean()
    model.train()
    return out.item()


def fit(config: Config, data: tuple[Tensor, Tensor], causal: bool, seed: int, device: str) -> dict:
    """Train one model on windows drawn at random; ``{step: held-out loss}``."""
    model, out = network(config, causal, seed).to(device).train(), {}
    optimizer = torch.optim.AdamW(model.parameters(), config.lr, weight_decay=0.01, fused=True)
    rng, stream = torch.Generator().manual_seed(seed), data[0].flatten()
    warmup, window = math.ceil(config.warmup * config.steps), torch.arange(config.length)
    for step in range(config.steps):
        if step % config.every == 0:
            out[step] = evaluate(model, data[1], config.batch)
        start = torch.randint(len(stream) - config.length + 1, (config.batch, 1), generator=rng)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = surprise(model, stream[start + window], rng).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = config.lr * schedule(step, config.steps, warmup)
        optimizer.step()
    return out | {config.steps: evaluate(model, data[1], config.batch)}


def run(seeds: Iterable[int], kind: str, device: str = "cuda", config: Config | None = None) -> Any:
    """Both models once a seed (weights, windows, masks, dropout), and what counting gives.

    Returns:
        The fields of a record that this run decides; ``model`` is the first network as it starts.
        The counts answer what the causal model is asked, ``unigram / masked`` what the masked is.

    Raises:
        ValueError: ``kind`` is not ``"short"`` (there is one kind), or there is no such device.
    """
    if kind != "short":
        raise ValueError(f"kind: expected short for this run, got {kind!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: expected a GPU (CUDA) for this run, got none")
    config, first = config or Config(), None
    metrics: dict[str, list[float]] = {}
    *data, per_byte = read(config)
    train, held = (x.numpy() for x in data)
    for seed in seeds:
        first = first or network(config, True, seed)
        for name in ("causal", "masked"):
            found = fit(config, (data[0], data[1]), name == "causal", seed, device)
            keys = {f"{name} / loss / {step}": loss for step, loss in found.items()}
            last = found[config.steps]
            if name == "causal":
                keys[f"{name} / perplexity / {config.steps}"] = math.exp(last)
                keys[f"{name} / bits per byte / {config.steps}"] = last * per_byte / math.log(2)
            for key, value in keys.items():
                metrics.setdefault(key, []).append(value)
            print(f"seed {seed}: {name} {last:.4f} nats a token held out", flush=True)
    rng = torch.Generator().manual_seed(0)  # the masks of `evaluate`
    exam = torch.cat([question(x, False, rng)[1] for x in data[1].split(config.batch)]).numpy()
    alone, pair = counted(train.ravel(), question(data[1], True, rng)[0].numpy(), held)
    laws = {"unigram": alone, "bigram": pair, "unigram / masked": alone[exam]}
    baselines = {name: float(-np.log(q).mean()) for name, q in laws.items()}
    digest = hashlib.sha256(train.tobytes() + held.tobytes()).hexdigest()
    source = {"name": tiers.ASSETS["books"].source, "sha256": digest, "dropped": {}}
    source |= {"rows": {"train": len(train), "held": len(held)}}
    body = {"config": dataclasses.asdict(config), "cut": {}, "metrics": metrics, "data": source}
    baselines |= {"uniform": math.log(V), "tokens a byte": per_byte}
    return body | {"model": first, "baselines": baselines}

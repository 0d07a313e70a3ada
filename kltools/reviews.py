"""Labeled texts: checked rows, separate splits without near-copies, and baselines on them."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kltools import tiers


def load_reviews(kind: str = "short", path: str | None = None, labels: int = 2) -> Any:
    """Rows to learn from: a checked DataFrame with ``text``, ``label``, ``split``.

    Args:
        kind: ``"short"`` or ``"long"`` reviews of the tier in use (`tiers.reviews`).
        path: a CSV file of your own instead, with columns ``text`` and ``label`` (and ``split``,
            if some rows are held out as ``"test"``).
        labels: number of classes; the labels are 0 … labels − 1.

    Raises:
        ValueError: a column is missing, a text is empty, or a label is not a class; the message
            names the file, the column and the row (1 is the first below the header).
    """
    if path is None:
        return check_rows(tiers.reviews(kind), f"reviews({kind!r})", labels)
    import pandas as pd

    return check_rows(pd.read_csv(path, keep_default_na=False), Path(path).name, labels)


def check_rows(rows: Any, name: str = "rows", labels: int = 2) -> Any:
    """``rows`` with integer labels and a ``split`` column, or a ValueError (see `load_reviews`)."""
    for column in ("text", "label"):
        if column not in rows.columns:
            got = ", ".join(map(str, rows.columns))
            raise ValueError(f"{name}: expected columns text and label, got {got}")
    classes = [str(k) for k in range(labels)]
    for column, expected, bad in (
        ("text", "a text", rows["text"].isna() | (rows["text"].astype(str).str.strip() == "")),
        ("label", f"one of {', '.join(classes)}", ~rows["label"].astype(str).isin(classes)),
    ):
        if bad.any():
            at = int(bad.to_numpy().argmax())
            got = str(rows[column].iloc[at])
            raise ValueError(
                f"{name}, row {at + 1}, column {column}: expected {expected}, got {got!r}"
            )
    held = rows["split"] if "split" in rows.columns else "train"
    return rows[["text"]].assign(label=rows["label"].astype(int), split=held)


def normalize(text: str) -> str:
    """Lower case, words only, one space between: what two texts are compared by."""
    return " ".join(re.findall(r"\w+", text.lower()))


def related(texts: Sequence[str], others: Sequence[str], least: int = 3) -> list[bool]:
    """For each text: is it a copy, the beginning or the end of one of ``others``, or one of it?

    Both are normalized texts. A beginning or end of less than ``least`` words does not count.
    """
    found = [False] * len(texts)
    for way in (1, -1):  # beginnings, then ends
        rows = [(t.split()[::way], i) for i, t in enumerate(texts)]
        rows += [(t.split()[::way], -1) for t in others]
        nested: list[tuple[list[str], int]] = []  # sorted rows that begin the present one
        for words, i in sorted(rows):
            while nested and words[: len(nested[-1][0])] != nested[-1][0]:
                nested.pop()
            for shorter, j in nested:
                if (i < 0) != (j < 0) and (len(shorter) >= least or shorter == words):
                    found[max(i, j)] = True
            nested.append((words, i))
    return found


@dataclass
class Splits:
    """Three DataFrames (``text``, ``label``) without a common text, and what was dropped for it."""

    train: Any
    validation: Any
    test: Any
    dropped: dict[str, int]


def split(
    rows: Any,
    *,
    train: int | None = None,
    validation: int,
    test: int | None = None,
    seed: int = 0,
) -> Splits:
    """Separate, stratified splits, with no near-copy of a held-out text among the others.

    Of rows with the same normalized text one is kept (``dropped["copies"]``). Then the test rows
    are drawn, what is `related` to them is dropped (``dropped["overlaps"]``), and so again for
    validation and training rows. The order is that of SHA-256(seed, text): the same everywhere.

    Args:
        rows: what `load_reviews` returns. Rows with ``split == "test"`` stay the test split;
            only if there are none it is drawn from all.
        train: number of training rows; ``None`` for all that remain.
        validation: number of validation rows.
        test: number of test rows; ``None`` for all that the source holds out.
        seed: another seed, other splits.

    Raises:
        ValueError: fewer rows remain than were asked for.
    """
    rows = rows.assign(key=[normalize(t) for t in rows["text"]], held=rows["split"] == "test")
    rows["order"] = [hashlib.sha256(f"{seed}\n{k}".encode()).hexdigest() for k in rows["key"]]
    rows = rows.sort_values(["held", "order", "text"], ascending=[False, True, True])
    rows = rows.reset_index(drop=True)
    pool = rows.drop_duplicates("key")  # of two copies the held-out one stays
    dropped, parts = {"copies": len(rows) - len(pool), "overlaps": 0}, {}
    for name, size in (("test", test), ("validation", validation), ("train", train)):
        source = pool[pool["held"]] if name == "test" and pool["held"].any() else pool
        if size is None and (name == "train" or source is not pool):
            size = len(source)
        if size is None or size > len(source):
            raise ValueError(f"{name}: expected a size of at most {len(source)} rows, got {size}")
        same = source.groupby("label")["label"]  # each class spread evenly over 0 … 1
        place = (same.cumcount() + 0.5) / same.transform("size")
        parts[name] = source.loc[place.sort_values(kind="stable").index[:size]]
        pool = pool.drop(parts[name].index)
        if name == "test":
            pool = pool[~pool["held"]]
        if name != "train":
            near = related(list(pool["key"]), list(parts[name]["key"]))
            dropped["overlaps"] += sum(near)
            pool = pool[~np.array(near, dtype=bool)]
    done = {k: v[["text", "label"]].reset_index(drop=True) for k, v in parts.items()}
    return Splits(**done, dropped=dropped)


def majority_baseline(train: Any, test: Any) -> dict[str, Any]:
    """Always answer the most frequent label of ``train`` (the smallest of those that tie)."""
    predictions = np.full(len(test), np.bincount(train["label"]).argmax())
    return {"accuracy": float((predictions == test["label"]).mean()), "predictions": predictions}


def tfidf_baseline(train: Any, validation: Any, test: Any) -> dict[str, Any]:
    """TF-IDF of words (and word pairs), then logistic regression, fitted to the same rows.

    ``validation`` chooses the strength of the penalty and whether pairs help, so that the baseline
    is as well tuned as the network.

    Returns:
        ``accuracy``, ``loss`` (mean D(label‖model) in nats) and ``predictions`` on ``test``, and
        ``C`` and ``ngrams``, the choice.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss
    from sklearn.pipeline import make_pipeline

    best, chosen = -1.0, {}
    for ngrams in (1, 2):
        for C in (1.0, 3.0, 10.0, 30.0, 100.0):
            words = TfidfVectorizer(ngram_range=(1, ngrams), sublinear_tf=True)
            pipe = make_pipeline(words, LogisticRegression(C=C, max_iter=1000))
            pipe.fit(train["text"], train["label"])
            score = pipe.score(validation["text"], validation["label"])
            if score > best:
                best, chosen = score, {"pipe": pipe, "C": C, "ngrams": ngrams}
    pipe = chosen.pop("pipe")
    predictions = pipe.predict(test["text"])
    accuracy = float((predictions == test["label"]).mean())
    loss = float(log_loss(test["label"], pipe.predict_proba(test["text"]), labels=pipe.classes_))
    return {"accuracy": accuracy, "loss": loss, "predictions": predictions, **chosen}

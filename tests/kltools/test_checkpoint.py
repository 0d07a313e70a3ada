"""checkpoint and fit: stopped at any moment, a run goes on to the same weights, bit for bit."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kltools import checkpoint, finetune
from kltools.finetune import Config

ROOT = Path(__file__).parents[2]
CONFIG = Config(epochs=4, batch_size=8, lr=3e-3, dropout=0.1, patience=4)
# The run in a process of its own. The second argument says where it is to be stopped.
SCRIPT = """
import dataclasses, hashlib, os, signal, sys
from pathlib import Path
import torch
from kltools import checkpoint, finetune
from tests.kltools import test_checkpoint as toy

folder, stop = Path(sys.argv[1]) if sys.argv[1] else None, sys.argv[2]
model, train, held = toy.toy()
save, replace, steps = checkpoint.save, os.replace, []
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

def stop_after_save(*arguments):
    path = save(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

def stop_in_step(module, arguments):
    steps.append(1)
    if module.training and len(steps) == 9:
        os.kill(os.getpid(), signal.SIGINT)

if stop == "kill between epochs":
    checkpoint.save = stop_after_save
if stop == "kill while writing":
    os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
if stop == "interrupt an epoch":
    model.base_model.pooler.register_forward_pre_hook(stop_in_step)
history = finetune.fit(model, train, held, toy.CONFIG, folder=folder)
weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
print(hashlib.sha256(weights).hexdigest(), history.step_loss, history.lr, history.best_epoch)
"""


def toy():
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    shape = dict(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    drop = dict(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)
    model = BertForSequenceClassification(BertConfig(intermediate_size=32, **shape, **drop))
    ids = torch.randint(3, 30, (64, 6)).tolist()
    rows = [{"input_ids": [2, *x[: 2 + i % 5]], "label": int(x[0] > 15)} for i, x in enumerate(ids)]
    return model, rows[:48], rows[48:]


def go(folder, stop=""):
    code = [sys.executable, "-c", SCRIPT, str(folder), stop]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(code, capture_output=True, text=True, env=env, timeout=200)


def test_stopped_three_times_it_ends_where_it_would_have_ended(tmp_path):
    whole = go("")
    assert whole.returncode == 0, whole.stderr
    file = tmp_path / checkpoint.NAME
    killed = go(tmp_path, "kill between epochs")
    assert killed.returncode == -signal.SIGKILL and file.is_file()
    first = file.read_bytes()
    interrupted = go(tmp_path, "interrupt an epoch")
    assert "KeyboardInterrupt" in interrupted.stderr and not interrupted.stdout
    second = file.read_bytes()
    assert torch.load(file)["epoch"] == 1  # it went on from epoch 0, and was stopped in epoch 2
    assert second != first
    killed = go(tmp_path, "kill while writing")
    assert killed.returncode == -signal.SIGKILL
    assert file.with_suffix(".tmp").is_file() and file.read_bytes() == second
    resumed = go(tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout
    assert go(tmp_path).stdout == whole.stdout  # a finished run is not trained again


def test_only_what_was_written_whole_is_loaded(tmp_path):
    state = {"epoch": 3, "weights": [torch.arange(1000.0)]}
    path = checkpoint.save(tmp_path, "a", state)
    loaded = checkpoint.load(tmp_path, "a")
    assert loaded["epoch"] == 3 and torch.equal(loaded["weights"][0], state["weights"][0])
    whole = path.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:-1], b""):
        path.write_bytes(part)
        with pytest.raises(ValueError, match=r"folder: expected a whole checkpoint, .* is damaged"):
            checkpoint.load(tmp_path, "a")
    path.unlink()
    path.with_suffix(".tmp").write_bytes(whole)  # left by a run that was stopped while writing
    assert checkpoint.load(tmp_path, "a") is None
    assert checkpoint.load(tmp_path / "nowhere", "a") is None


def test_a_full_disk_is_said_and_costs_nothing(tmp_path):
    path = checkpoint.save(tmp_path, "a", {"epoch": 0})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"folder: expected room .* {tmp_path}, got: .*File too"):
            checkpoint.save(tmp_path, "a", {"epoch": 1, "weights": [torch.ones(100_000)]})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, kept)
    assert path.read_bytes() == before and not path.with_suffix(".tmp").exists()
    (tmp_path / "a file").write_text("")
    with pytest.raises(OSError, match="folder: expected room"):
        checkpoint.save(tmp_path / "a file", "a", {"epoch": 1})


@pytest.mark.parametrize("change", ["settings", "rows", "weights"])
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change):
    model, train, held = toy()
    config = dataclasses.replace(CONFIG, epochs=1)
    finetune.fit(model, train, held, config, folder=tmp_path)
    model, train, held = toy()
    if change == "settings":
        config = dataclasses.replace(config, lr=1e-3)
    elif change == "rows":
        train[0]["label"] = 1 - train[0]["label"]
    else:
        with torch.no_grad():
            model.classifier.weight[0, 0] += 1
    with pytest.raises(ValueError, match=f"folder: {tmp_path}.* is of a run with other settings"):
        finetune.fit(model, train, held, config, folder=tmp_path)


def test_what_tensorboard_finds(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    model, train, held = toy()
    history = finetune.fit(model, train, held, CONFIG, folder=tmp_path)
    seen: dict[str, list] = {}
    for path in tmp_path.rglob("events.out.tfevents*"):
        data = path.read_bytes()
        while data:  # a record: length, its checksum, the event, its checksum
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            for value in event.summary.value:
                seen.setdefault(value.tag, []).append((event.step, value.simple_value))
            data = data[16 + size :]
    curves = {tag: [v for _, v in sorted(points)] for tag, points in seen.items()}
    assert curves.keys() == {
        "loss/step", "lr", "loss/train", "loss/validation", "accuracy/validation"
    }  # fmt: skip
    assert curves["loss/step"] == pytest.approx(history.step_loss)
    assert curves["lr"] == pytest.approx(history.lr)
    assert curves["loss/validation"] == pytest.approx(history.validation_loss)
    assert curves["accuracy/validation"] == pytest.approx(history.validation_accuracy)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, train, held = toy()
    finetune.fit(model, train, held, dataclasses.replace(CONFIG, epochs=1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["pipe", "colab"])
def test_the_bar_is_shown_on_colab_and_not_in_a_pipe(where, monkeypatch, capfd):
    if where == "colab":
        monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab")
    else:
        monkeypatch.delenv("COLAB_RELEASE_TAG", raising=False)
    model, train, held = toy()
    finetune.fit(model, train, held, dataclasses.replace(CONFIG, epochs=1))
    assert ("6/6" in capfd.readouterr().err) == (where == "colab")


def test_fingerprint():
    a = checkpoint.fingerprint({"lr": 0.1}, [1, 2], torch.ones(3))
    assert a == checkpoint.fingerprint({"lr": 0.1}, [1, 2], torch.ones(3)) and len(a) == 64
    others = [
        ({"lr": 0.2}, [1, 2], torch.ones(3)),
        ({"lr": 0.1}, [2, 1], torch.ones(3)),
        ({"lr": 0.1}, [1, 2], torch.ones(3) + 1e-7),
    ]
    assert all(checkpoint.fingerprint(*o) != a for o in others)
    assert json.dumps(a)

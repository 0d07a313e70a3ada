"""In tier cpu nothing even tries to reach the hub, also where HF_HUB_OFFLINE is not set."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import socket

def refuse(*args, **kwargs):
    print("REACHED FOR", args[-1] if args else kwargs, flush=True)
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from kltools import finetune
finetune.main("--train 32 --validation 16 --test 16 --epochs 1".split())
"""


def test_the_embedded_fine_tune_asks_nobody(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "KLTOOLS_TIER"))}
    env |= {"HF_HOME": str(tmp_path / "empty hub cache")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "REACHED FOR" not in done.stdout + done.stderr
    assert "test: " in done.stdout


def test_the_gpu_tier_names_the_way_out(tmp_path):
    """Without the hub: a clear message, at once, that says how to choose the embedded files."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("KLTOOLS")}
    env |= {"KLTOOLS_TIER": "gpu", "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    done = subprocess.run(
        [sys.executable, "-m", "kltools.finetune", "--train", "8", "--validation", "8"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) < 8
    assert "KLTOOLS_TIER=cpu" in done.stderr
    assert "Traceback" not in done.stderr

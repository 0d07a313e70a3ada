"""What a recorded run ran on: device, versions, commit."""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("torch", "transformers", "accelerate", "peft", "numpy", "scikit-learn", "kltools")
PEERS = {"TRL": "trl", "Liger": "liger_kernel"}  # peers in `kltools.bench`: package


def _output(*command: str) -> str | None:
    try:
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def device() -> dict[str, Any]:
    """What this process computes on: kind, name, driver, threads."""
    import torch

    if torch.cuda.is_available():
        query = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        name, driver = torch.cuda.get_device_name(), (query or "unknown").splitlines()[0]
        return {"kind": "cuda", "name": name, "driver": driver, "threads": torch.get_num_threads()}
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.is_file():
        lines = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {"kind": "cpu", "name": name, "driver": "none", "threads": torch.get_num_threads()}


def versions() -> dict[str, str]:
    """The versions of Python and of what a run depends on."""
    import torch

    out = {"python": platform.python_version()}
    peers = [name for name in PEERS.values() if importlib.util.find_spec(name)]
    out |= {name: importlib.metadata.version(name) for name in (*PACKAGES, *peers)}
    out["torch"] = torch.__version__  # with its build: +cpu, +cu130
    return out | ({"cuda": str(torch.version.cuda)} if torch.cuda.is_available() else {})


def commit() -> str | None:
    """The commit of the book's repository, with ``+changes`` if files differ from it.

    On a machine with the files but without their history, ``KLTOOLS_COMMIT`` says it.
    """
    said, found = os.environ.get("KLTOOLS_COMMIT"), _output("git", "rev-parse", "HEAD")
    if said or not found or not (ROOT / "chapters" / "runs").is_dir():
        return said
    return found + ("+changes" if _output("git", "status", "--porcelain") else "")

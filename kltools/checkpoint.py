"""One file a run, written whole or not at all, so that an interrupted training can go on.

`save` writes beside the file and moves it into place when the bytes are on the disk: whoever is
stopped before that, even by ``kill -9`` or a full disk, leaves the checkpoint before it as it was.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch

NAME = "checkpoint.pt"


def fingerprint(*parts: Any) -> str:
    """SHA-256 of what a run depends on, given as JSON-like values and tensors."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor):
            digest.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()


def save(folder: Path, run: str, state: dict[str, Any]) -> Path:
    """Write ``state`` of the run with the fingerprint ``run``; returns the file's path.

    Raises:
        OSError: it cannot be written, because the disk is full for example; what was there stays.
    """
    path = folder / NAME
    temporary = path.with_suffix(".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as f:
            torch.save(state | {"run": run}, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as e:  # torch raises the second for what its writer met
        with contextlib.suppress(OSError):  # not a folder, or not ours: the reason is in `e`
            temporary.unlink()
        reason = e if isinstance(e, OSError) else e.__context__ or e
        raise OSError(f"folder: expected room for a checkpoint in {folder}, got: {reason}") from e
    return path


def load(folder: Path, run: str) -> dict[str, Any] | None:
    """The state that `save` left for this run, its tensors on the CPU; None if there is none.

    Raises:
        ValueError: the file belongs to another run, or is damaged.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # a damaged file raises many types
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise ValueError(f"folder: expected a whole checkpoint, {path} is damaged ({first})") from e
    if state["run"] != run:
        raise ValueError(
            f"folder: {path} is of a run with other settings, rows or weights; "
            "take an empty folder, or delete it"
        )
    return state

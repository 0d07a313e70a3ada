"""Tests of what only a GPU runs: collected where there is one, `python -m pytest tests/gpu`."""

import torch

collect_ignore = [] if torch.cuda.is_available() else ["test_gpu.py"]

"""A training step recorded once a shape and replayed on a GPU as a CUDA graph.

On a fast GPU a small batch costs more in launches than in arithmetic: a step of BERT launches over
a thousand kernels, each a few microseconds of the CPU's time. A graph launches all of them at
once. It holds addresses, not values: inputs are copied into the tensors it was recorded with, and
everything else that changes (weights, optimizer state, learning rate, random numbers) is a tensor
on the GPU. See Gray, "Getting started with CUDA graphs" (NVIDIA, 2019), and `torch.cuda.graph`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]


class Replay:
    """``step(batch)`` on a GPU: run at a shape's first batch, recorded at its second, replayed.

    Args:
        step: forward, backward and update for a batch of tensors on the GPU; returns one tensor.
            It may not wait for the GPU (``.item()``, ``if tensor:``), must leave gradients
            ``None``, and its optimizer must be ``capturable`` with a learning rate on the GPU.
        device: the GPU.
    """

    def __init__(self, step: Callable[[Batch], Tensor], device: torch.device) -> None:
        self.step, self.device = step, device
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()
        self.recorded: dict[Any, tuple[torch.cuda.CUDAGraph, Batch, Tensor] | None] = {}

    def __call__(self, batch: Batch) -> Tensor:
        """One step on a batch in the CPU's memory (pinned: then nobody waits); what it returned."""
        key = tuple((name, *x.shape) for name, x in batch.items())
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):  # one stream for all steps: gradients stay on it
            if key not in self.recorded:
                self.recorded[key] = None
                out = self.step(self._move(batch))
            else:
                entry = self.recorded[key]
                if entry is None:
                    entry = self.recorded[key] = self._record(batch)
                graph, inputs, result = entry
                for name, x in batch.items():
                    inputs[name].copy_(x, non_blocking=True)
                graph.replay()
                out = result.clone()  # the next replay overwrites it
        torch.cuda.current_stream().wait_stream(self.stream)
        return out

    def _move(self, batch: Batch) -> Batch:
        return {k: x.to(self.device, non_blocking=True) for k, x in batch.items()}

    def _record(self, batch: Batch) -> tuple[torch.cuda.CUDAGraph, Batch, Tensor]:
        inputs, graph = self._move(batch), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream):
            result = self.step(inputs)
        return graph, inputs, result

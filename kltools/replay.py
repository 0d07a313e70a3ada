"""A training step recorded once a shape and replayed on a GPU as a CUDA graph.

On a fast GPU a small batch costs more in launches than in arithmetic: a step of BERT launches over
a thousand kernels, each a few microseconds of the CPU's time. A graph launches all of them at
once. It holds addresses, not values: inputs are copied into the tensors it was recorded with, and
everything else that changes (weights, optimizer state, learning rate, random numbers) is a tensor
on the GPU. See Gray, "Getting started with CUDA graphs" (NVIDIA, 2019), and `torch.cuda.graph`.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]


def for_gpu(batch: Batch) -> Batch:
    """The batch in pinned memory, from which copies do not wait, its mask ready for attention.

    ``attention_mask`` [B, T] of ones and zeros becomes what is added to the scores: 0 and −∞,
    float32 [B, 1, 1, T]. From the other form `transformers` makes this one, but first waits for
    the GPU to learn whether there is any padding.
    """
    keep = batch.get("attention_mask")
    if keep is not None:
        added = torch.zeros(keep.shape).masked_fill_(keep == 0, -math.inf)
        batch = batch | {"attention_mask": added[:, None, None]}
    return {k: x.pin_memory() for k, x in batch.items()}


def any_length() -> contextlib.AbstractContextManager[None]:
    """Attention kernels that take a new shape at once; cuDNN's first makes a plan for it."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(
        [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    )


class Replay:
    """``step(batch)`` on a GPU: a shape's first batch is run, its second recorded and replayed.

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

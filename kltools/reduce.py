"""Means that survive padding, gradient accumulation and uneven batches: sums and counts first."""

from typing import Any

import torch
from torch import Tensor


def masked_sum(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """The sum of ``x`` where ``mask`` is True, and how many entries that are.

    Divide once, at the end, by the count of *all* batches (see `Mean`): a mean per batch, then
    a mean of those, weighs a token of a short batch more than a token of a long one.

    Args:
        x: any shape, for example ``[B, L]`` nats per token.
        mask: bool, the same shape; True where the entry counts.

    Returns:
        (sum, count): a scalar in the unit of ``x`` and an integer scalar. What stands at masked
        positions, NaN and inf included, reaches neither the sum nor the gradient of ``x``. (A NaN
        can still arise *behind* ``x``, where its own backward pass multiplies that zero by inf.)

    Raises:
        TypeError: ``mask`` is not bool.
        ValueError: the shapes differ (nothing is broadcast).
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask: expected a tensor of torch.bool, got {got}")
    if x.shape != mask.shape:
        raise ValueError(f"mask: expected shape {tuple(x.shape)} as x, got {tuple(mask.shape)}")
    return torch.where(mask, x, 0).sum(), mask.sum()


class Mean:
    """A running mean of everything that was added, one division at the end.

    Attributes:
        total: the sum so far (a Python float, float64).
        count: the number of items so far.
    """

    def __init__(self) -> None:
        self.total = 0.0
        self.count = 0

    def add(self, total: Any, count: Any) -> None:
        """Add a batch: the *sum* of its values and the number of its items.

        Raises:
            ValueError: ``count`` is negative or not a whole number, or ``total`` is not a scalar.
        """
        n = float(count)
        if not (n >= 0 and n.is_integer()):
            raise ValueError(f"count: expected a nonnegative whole number, got {n:g}")
        if isinstance(total, Tensor):
            if total.numel() != 1:
                raise ValueError(
                    f"total: expected a sum (a scalar), got shape {tuple(total.shape)}"
                )
            total = total.item()
        self.total += float(total)
        self.count += int(n)

    @property
    def value(self) -> float:
        """The mean so far, total / count.

        Raises:
            ValueError: nothing was added.
        """
        if self.count == 0:
            raise ValueError("value: expected at least one item, got a count of 0")
        return self.total / self.count

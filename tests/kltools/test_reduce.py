"""reduce: sums and counts, against exact arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from kltools.reduce import Mean, masked_sum


def test_masked_sum_by_hand():
    x = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], dtype=torch.float64)
    mask = torch.tensor([[True, False, True], [False, False, True]])
    total, count = masked_sum(x, mask)
    assert total.item() == 37 and count.item() == 3
    assert total.dtype == torch.float64 and total.shape == count.shape == ()
    total, count = masked_sum(x, torch.zeros(2, 3, dtype=torch.bool))
    assert total.item() == 0 and count.item() == 0
    assert masked_sum(torch.ones(5, dtype=torch.int64), torch.arange(5) > 1)[0].item() == 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_masked_reaches_neither_value_nor_gradient(bad):
    x = torch.tensor([1.0, bad, 3.0], requires_grad=True)
    total, count = masked_sum(x, torch.tensor([True, False, True]))
    total.backward()
    assert total.item() == 4 and count.item() == 2
    assert x.grad.tolist() == [1, 0, 1]
    times = x.detach() * torch.tensor([1.0, 0.0, 1.0])  # what multiplication by a mask would do
    assert times.sum().isnan()


def test_what_counts_is_not_hidden():
    total, _ = masked_sum(torch.tensor([1.0, math.nan]), torch.tensor([True, True]))
    assert total.isnan()


def test_padding_dividing_by_all_positions_or_by_rows_is_another_number():
    x = torch.tensor([[1.0, 1.0, 1.0, 1.0], [4.0, 9.0, 9.0, 9.0]])
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    total, count = masked_sum(x, mask)
    assert (total / count).item() == pytest.approx(8 / 5)
    assert (x * mask).mean().item() == pytest.approx(1.0)  # divided by B·L
    rows = ((x * mask).sum(1) / mask.sum(1)).mean().item()
    assert rows == pytest.approx(2.5)  # each row weighs the same
    assert x.mean().item() == pytest.approx(4.375)  # padding included


def test_masked_sum_refuses():
    x = torch.zeros(2, 3)
    with pytest.raises(TypeError, match=r"mask: expected a tensor of torch.bool, got torch.int64"):
        masked_sum(x, torch.ones(2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"mask: expected a tensor of torch.bool, got list"):
        masked_sum(x, [[True] * 3] * 2)
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 3\) as x, got \(3,\)"):
        masked_sum(x, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 3\) as x, got \(2, 1\)"):
        masked_sum(x, torch.ones(2, 1, dtype=torch.bool))


def test_mean_is_not_the_mean_of_batch_means():
    losses = [0.1] * 96 + [5.0]
    batches = [losses[i : i + 16] for i in range(0, 97, 16)]
    mean = Mean()
    for batch in batches:
        mean.add(sum(batch), len(batch))
    assert mean.value == pytest.approx(float((96 * Fraction(1, 10) + 5) / 97), rel=1e-14)
    assert mean.value == pytest.approx(0.1505, abs=5e-5)
    assert sum(sum(b) / len(b) for b in batches) / len(batches) == pytest.approx(0.80, rel=1e-12)


def test_accuracy_is_per_sample_and_never_above_one():
    correct = [True] * 90 + [False] * 10
    mean, wrong, batches = Mean(), 0, 0
    for i in range(0, 100, 16):
        batch = torch.tensor(correct[i : i + 16])
        mean.add(batch.sum(), len(batch))
        wrong, batches = wrong + batch.sum().item(), batches + 1
    assert mean.value == 0.9
    assert wrong / batches == pytest.approx(12.857, abs=5e-4)  # "accuracy" divided by batches


@pytest.mark.parametrize("cuts", [[], [1], [50], [3, 4, 99], list(range(1, 100))])
def test_mean_does_not_depend_on_the_batches(cuts):
    x = torch.arange(100, dtype=torch.float64) ** 2
    mean = Mean()
    for part in np.split(x.numpy(), cuts):
        part = torch.tensor(part)
        mean.add(*masked_sum(part, torch.ones_like(part, dtype=torch.bool)))
    assert mean.value == float(Fraction(sum(i * i for i in range(100)), 100))
    assert (mean.total, mean.count) == (328350.0, 100)


def test_mean_takes_tensors_that_need_gradients_and_empty_batches():
    mean = Mean()
    mean.add(torch.tensor([2.0], requires_grad=True) * 3, torch.tensor(4))
    mean.add(0.0, 0)
    assert mean.value == 1.5 and isinstance(mean.value, float) and isinstance(mean.count, int)


def test_mean_adds_in_float64():
    mean = Mean()
    for _ in range(10000):
        mean.add(torch.tensor(1.0), 1)
        mean.add(torch.tensor(1e-9), 0)
    assert mean.total == pytest.approx(10000 + 1e-5, abs=1e-8)  # float32 would drop every 1e-9


def test_mean_refuses():
    mean = Mean()
    with pytest.raises(ValueError, match="value: expected at least one item, got a count of 0"):
        _ = mean.value
    for count, message in ((-1, "got -1"), (0.5, "got 0.5"), (math.nan, "got nan")):
        with pytest.raises(
            ValueError, match=f"count: expected a nonnegative whole number, {message}"
        ):
            mean.add(1.0, count)
    with pytest.raises(ValueError, match=r"total: expected a sum \(a scalar\), got shape \(3,\)"):
        mean.add(torch.ones(3), 3)
    assert (mean.total, mean.count) == (0.0, 0)  # what is refused is not counted

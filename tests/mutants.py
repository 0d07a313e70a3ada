"""Single-line faults in kltools: each must fail a unit test and, where a chapter uses it, a page.

`make mutants`, or `python tests/mutants.py WORD` for the faults with WORD in their line below.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
# fault | module, whose unit tests are tests/kltools/test_<module>.py | line | instead | chapter
FAULTS = """
p and q swapped      | divergences | in named.values()] | in named.values()][::-1] | two-directions
sign of d            | divergences | 0, logq - logp)    | 0, logp - logq)      | entropy-and-kl
masked: nan gradient | divergences | (none, 0, logq -   | (none & False, 0, logq - | stable-kl
0 < q adds nothing   | divergences | none, q, bregman   | none, 0, bregman     | entropy-and-kl
series cut           | divergences | else 9, 2, -1)     | else 9, 3, -1)       | entropy-and-kl
series used far away | divergences | NEAR = 0.5         | NEAR = 50.0          | entropy-and-kl
series never used    | divergences | d.abs() <= NEAR    | d.abs() < 0          |
derivative e^d       | divergences | grad * torch.expm1 | grad * torch.exp     | forward-and-reverse
sum not checked      | divergences | .max() > atol      | .max() > 1e9         | entropy-and-kl
cross-entropy's sign | divergences | -(_positive_where  | (_positive_where     | entropy-and-kl
half of TV forgotten | divergences | .sum(dim) / 2      | .sum(dim)            | inequalities
weight of p forgotten | divergences | return beta * p_side | return p_side       | logit-gradients
mixture of q alone   | divergences | a + math.log(beta) | b + math.log(beta)   | logit-gradients
forward: p - q       | gradients   | logq.exp() - logp. | logp.exp() - logq.   | two-directions
ReverseKL's sign     | gradients   | q * (f - r)        | q * (r - f)          | derivation
R left out           | gradients   | q * (f - r)        | q * f                | forward-and-reverse
directions mixed up  | gradients   | "forward": Forward | "forward": Reverse   | two-directions
sign of dlogp        | gradients   | dlogp = g * p      | dlogp = -g * p       |
Hessian without + 1  | gradients   | None, :] + 1)      | None, :])            | logit-gradients
sign of k1           | estimators  | return logq - logp | return logp - logq   | estimators-value
half of k2 forgotten | estimators  | ** 2 / 2           | ** 2                 | estimators-value
k3 of q/p            | estimators  | d = logp - logq    | d = logq - logp      | estimators-value
score not detached   | estimators  | logp).detach() *   | logp) *              | estimators-gradient
weight not detached  | estimators  | .exp().detach()    | .exp()               | estimators-gradient
no weight            | estimators  | weight * torch.where | 1 * torch.where    | estimators-gradient
half the log ratio   | closed_form | 2 * (s1.log()      | 1 * (s1.log()        | forward-and-reverse
means over s1        | closed_form | ((m1 - m2) / s2)   | ((m1 - m2) / s1)     | forward-and-reverse
one outcome of two   | closed_form | + _outcome(1 - p   | + 0 * _outcome(1 - p |
sign of first error  | backprop    | [a[-1] - self.     | [-a[-1] + self.      | derivation
slope left out       | backprop    | * dsigma(z[l - 1]) | * 1                  | derivation
sum for mean         | backprop    | d.T @ a / m        | d.T @ a              | derivation
one mean error       | backprop    | d.T @ a / m        | d.mean(0)[:, None] * a[0] | derivation
mask dropped         | reduce      | where(mask, x, 0)  | clone(x)             | stable-kl
mask multiplied      | reduce      | where(mask, x, 0)  | mul(mask, x)         |
padding counted      | reduce      | mask.sum()         | torch.ones_like(mask).sum() | stable-kl
mean of batch means  | reduce      | += int(n)          | += 1                 | fine-tune-bert
no attention mask    | finetune    | + [0] * (longest   | + [1] * (longest     | fine-tune-bert
class 0 is the label | finetune    | labels[:, None])   | 0 * labels[:, None]) | fine-tune-bert
fused: p - q         | fused       | out=q).mul_(p)     | out=q).mul_(p).neg_() |
fused: share of d    | fused       | value=-1, out      | value=-0.9, out      |
fused: p is 0        | fused       | out=p).clamp_min_(tiny) | out=p)          |
fused: q is 0        | fused       | out=q).clamp_min_(tiny) | out=q)          |
fused: mixture       | fused       | value=1 - beta     | value=beta           |
fused: T forgotten   | fused       | .div_(T)           | .div_(1)             |
fused: weight of q   | fused       | .mul_(beta - 1)    | .mul_(-beta)         |
fused: far ratios    | fused       | FAR = 60.0         | FAR = 600.0          |
compiled: p - q      | fused       | (q - p).to(dtype)  | (p - q).to(dtype)    |
compiled: weight of q | fused      | (1 - beta) * q * (r - q_side | beta * q * (r - q_side |
padding attended to  | replay      | -math.inf          | 0.0                  |
positions run on     | steps       | for k in n for i in range(k)]] | for i in range(sum(n))]] |
FLOPs of attention   | steps       | + 4 * width * n**2 | + 0 * width * n**2   |
inverse of a ratio   | bench       | [a / b for a, b    | [b / a for a, b      |
90 % masked          | pretrain    | kind < 0.8         | kind < 0.9           |
another run's state  | checkpoint  | if state["run"] != run: | if not state["run"]: |
written in place     | checkpoint  | path.with_suffix(".tmp") | path            |
any value passes     | check       | if not np.allclose | if False and np.allclose |
"""


def passes(where: Path, *arguments: str) -> bool:
    """Does pytest pass in ``where``, on the copy of kltools there? Stop if it cannot even run."""
    env = os.environ | {"PYTHONPATH": str(where), "OMP_NUM_THREADS": "1"}
    show = [sys.executable, "-c", "import kltools; print(*kltools.__path__)"]
    used = subprocess.check_output(show, cwd=where, env=env, text=True).strip()
    assert used == str(where / "kltools"), f"imported {used}, not the copy in {where}"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    run = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True)
    assert run.returncode in (0, 1), f"{command}: {run.stdout[-2000:]}{run.stderr[-2000:]}"
    return run.returncode == 0


def survives(module: str, old: str, new: str, chapter: str) -> list[bool]:
    """In a copy with ``old`` replaced by ``new``: do the unit tests pass, does the chapter?"""
    with tempfile.TemporaryDirectory() as name:
        where = Path(name).resolve()
        for part in ("kltools", "tests", "chapters", "conftest.py", "pyproject.toml"):
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, where / part)
        path = where / "kltools" / f"{module}.py"
        text = path.read_text()
        assert not old or text.count(old) == 1, f"{module}: {text.count(old)} times {old}"
        path.write_text(text.replace(old, new) if old else text)
        nbval = ("--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval.cfg")
        pages = [str(p) for p in where.glob(f"chapters/*/{chapter}.ipynb") if chapter]
        assert bool(pages) == bool(chapter), f"no chapter {chapter}"
        return [passes(where, f"tests/kltools/test_{module}.py")] + [
            passes(where, *nbval, page) for page in pages
        ]


rows = [[cell.strip() for cell in line.split("|")] for line in FAULTS.strip().split("\n")]
rows = [row for row in rows if " ".join(sys.argv[1:]) in " | ".join(row)]
clean = [["(no fault)", m, "", "", c] for m, c in sorted({(r[1], r[4]) for r in rows})]
wrong = 0
print(f"{'fault':24} {'module':12} {'unit tests':11} notebook")
with ThreadPoolExecutor(2) as pool:
    for row, passed in zip(clean + rows, pool.map(lambda r: survives(*r[1:]), clean + rows)):
        unit, page = (["passed" if ok else "failed" for ok in passed] + ["-"])[:2]
        bad = any(passed) if row[2] else not all(passed)  # without its fault a copy must pass
        print(f"{row[0]:24} {row[1]:12} {unit:11} {page:9} {row[4]:20} {'WRONG' * bad}", flush=True)
        wrong += bad
print(f"{len(rows)} faults, {wrong} lines wrong")
sys.exit(wrong > 0 or not rows)

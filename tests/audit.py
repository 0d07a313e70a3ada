"""`make audit`: Lighthouse, as on a phone: the front page, the longest chapter, the fine-tune.

Lighthouse comes from npm when this runs. Its performance score simulates a slow phone from what
it measures here, so a busy machine lowers it: it is no part of `make test`.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests import browser as chrome

LIGHTHOUSE = "lighthouse@12.8.2"
LEAST = {"performance": 95, "accessibility": 100, "best-practices": 96, "seo": 100}
RUNS = 3  # the median counts


def audit(url: str) -> dict:
    """One run of Lighthouse: its report."""
    with tempfile.TemporaryDirectory() as profile:
        flags = " ".join([*chrome.FLAGS, "--headless=new", f"--user-data-dir={profile}"])
        command = ["npm", "exec", "--yes", "--", LIGHTHOUSE, url, "--quiet", "--output=json"]
        done = subprocess.run(
            [*command, f"--chrome-path={chrome.chromium()}", f"--chrome-flags={flags}"],
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"lighthouse failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def main() -> int:
    """Print a table; 1 if a score is below what the book promises."""
    if chrome.chromium() is None or shutil.which("npm") is None:
        sys.exit("make audit: expected Chromium (or Chrome) and npm, found them not both")
    chapters = sorted(chrome.SITE.glob("chapters/*/*.html"), key=lambda p: p.stat().st_size)
    pages = ["index.html", chapters[-1], chrome.SITE / "chapters/transformer/fine-tune-bert.html"]
    names = ["index.html", *(p.relative_to(chrome.SITE).as_posix() for p in pages[1:])]
    low = 0
    print(f"{'page':48}{''.join(f'{c:>16}' for c in [*LEAST, 'TBT, ms'])}   not perfect")
    with chrome.serve(chrome.SITE) as address:
        for name in names:
            reports = [audit(address + name) for _ in range(RUNS)]
            scores = {
                c: statistics.median(round(100 * r["categories"][c]["score"]) for r in reports)
                for c in LEAST
            }
            low += sum(scores[c] < least for c, least in LEAST.items())
            scores["TBT"] = statistics.median(
                r["audits"]["total-blocking-time"]["numericValue"] for r in reports
            )
            weak = [
                k for k, a in reports[0]["audits"].items()
                if a["score"] is not None and a["score"] < 0.9
            ]  # fmt: skip
            row = "".join(f"{scores[c]:>16.0f}" for c in [*LEAST, "TBT"])
            print(f"{name:48}{row}   {', '.join(weak)}", flush=True)
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())

"""What every test shares: paths, the browser, and a plain word about what was not checked."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "chapters" / "assets"))  # the book's own reader of claims

# the same examples on every machine, however slow it is
settings.register_profile("book", derandomize=True, deadline=None, max_examples=100, database=None)
settings.load_profile("book")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; without one the test is skipped, and the last lines say so."""
    from tests import browser as chrome

    if chrome.chromium() is None:
        pytest.skip("no Chromium or Chrome is installed (Debian: apt-get install chromium)")
    with chrome.launch() as launched:
        yield launched


def pytest_terminal_summary(terminalreporter, exitstatus, config) -> None:
    """After the report: each reason for which something was not checked, and how often."""
    reasons: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    for reason, tests in reasons.items():
        files = sorted({name.split("::")[0] for name in tests})
        terminalreporter.write_line(f"NOT CHECKED, {len(tests)} tests: {reason}", yellow=True)
        terminalreporter.write_line(f"  they are in {', '.join(files)}")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """In CI nothing may be skipped: KLTOOLS_NO_SKIP=1 turns a skip into a failure."""
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("KLTOOLS_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, which KLTOOLS_NO_SKIP=1 forbids: {report.longrepr}"

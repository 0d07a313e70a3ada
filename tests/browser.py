"""Headless Chromium for the tests of the published pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Nothing of Chromium's own may go out: what a page asks for is all that is seen.
FLAGS = [
    "--no-sandbox",  # CI runs as root
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}


def chromium() -> str | None:
    """The path of an installed Chromium or Chrome; CHROME_PATH has the first word."""
    named = os.environ.get("CHROME_PATH")
    found = [named] if named else [shutil.which(name) for name in NAMES]
    return next((path for path in found if path), None)


@contextmanager
def launch() -> Iterator:
    """A Playwright browser that drives the installed Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield browser
        browser.close()


class _Pages(SimpleHTTPRequestHandler):
    """What GitHub Pages does: the book below its path, and 404.html for what is not there."""

    prefix = "/"

    def translate_path(self, path: str) -> str:
        """Drop the path below which the book is published."""
        inside = "/" + path.removeprefix(self.prefix) if path.startswith(self.prefix) else "/-"
        return super().translate_path(inside)

    def send_error(self, code, message=None, explain=None) -> None:
        """Answer with the book's own page."""
        page = Path(self.directory) / "404.html"
        body = page.read_bytes() if page.exists() else b"not found"
        self.send_response(code)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path, prefix: str = "/") -> Iterator[str]:
    """The address of a loopback server for ``folder``, which appears below ``prefix``."""
    handler = type("Pages", (_Pages,), {"prefix": prefix})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        server.server_close()

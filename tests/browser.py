"""Headless Chromium for the tests of the published pages."""

import gzip
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import yaml

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
TEXT = {".html", ".js", ".css", ".svg", ".json", ".txt", ".xml"}  # what a server packs
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
MODES = {
    "light": {"viewport": DESK, "color_scheme": "light"},
    "dark": {"viewport": DESK, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "is_mobile": True},
    "phone-dark": {"viewport": PHONE, "color_scheme": "dark", "is_mobile": True},
}
# A promise that never settles would hang the tests: each one gets a few seconds.
FONTS = (
    "Promise.race([document.fonts.ready, new Promise(go => setTimeout(go, 5000))]).then(() => 1)"
)
# The published pages, but for redirections; and those that are chapters.
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))
PAGES = [p for p in PAGES if "http-equiv" not in (SITE / p).read_text(encoding="utf8")[:400]]
CHAPTERS = [p for p in PAGES if (SITE / "_sources" / p).with_suffix(".ipynb").exists()]
PREFIX = urlsplit(yaml.safe_load((ROOT / "_config.yml").read_text())["html"]["baseurl"]).path


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

    def end_headers(self) -> None:
        """Say how long a file keeps, as GitHub Pages does."""
        self.send_header("Cache-Control", "max-age=600")
        super().end_headers()

    def copyfile(self, source, outputfile) -> None:
        """Send a file as ``send_head`` announced it."""
        super().copyfile(getattr(self, "packed", None) or source, outputfile)

    def send_head(self):
        """Announce a text in gzip where the browser takes it, as GitHub Pages does."""
        path = Path(self.translate_path(urlsplit(self.path).path))
        path = path / "index.html" if path.is_dir() else path
        self.packed = None
        packs = "gzip" in self.headers.get("Accept-Encoding", "")
        if not (packs and path.suffix in TEXT and path.is_file()):
            return super().send_head()
        body = gzip.compress(path.read_bytes(), 6)
        self.packed = io.BytesIO(body)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)

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

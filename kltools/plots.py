"""The book's one figure style: a vector picture that follows the page, and a digest to compare.

``show(fig, alt)`` emits two things. Browsers show the picture: an SVG whose ink is
``currentColor``, so that it reads on white and on black paper, with ``alt`` as its accessible
name. Notebook tests compare the other: a text digest of what the figure draws, so that a wrong
curve fails while fonts may differ.
"""

import base64
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

# Okabe-Ito hues (Okabe and Ito 2008), moved to a luminance that gives at least 3:1
# on #ffffff and on #121212 alike.
COLORS = ["#0072B2", "#D55E00", "#008F68", "#B5609B", "#8A6D00", "#5B6DCD"]
LINESTYLES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1))]
GREY = "#808080"  # for guides and grids
HEAVY = 200_000  # bytes of SVG; a figure with more becomes two small pictures, one for each paper
INKS = {"on-light": "#000000", "on-dark": "#e3e5e8"}
_DARK = ':is([data-theme="dark"],[theme="dark"],[data-jp-theme-light="false"]) .kl-figure'
SWITCH = (  # the page, Colab and JupyterLab each name their theme in their own way
    f"<style>.kl-figure .on-dark,{_DARK} .on-light{{display:none}}{_DARK} .on-dark{{display:block}}"
    "</style>"
)


def use() -> None:
    """Set the book's matplotlib style; call it once, in the set-up cell."""
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text: searchable, small, in the page's own font
            "svg.hashsalt": "kltools",  # the same figure gives the same bytes
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "figure.figsize": (6.4, 3.6),
            "figure.dpi": 96,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=LINESTYLES),
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GREY,
            "grid.alpha": 0.25,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "lines.linewidth": 2.0,
            "image.cmap": "cividis",
        }
    )


def show(fig: Any, alt: str, *, digits: int = 3, component: str | None = None) -> None:
    """Display ``fig`` with its text alternative, and close it.

    Args:
        fig: a matplotlib Figure (seaborn's grids have one as ``.figure``).
        alt: what is seen, in one or two sentences: it is read aloud and compared in CI.
        digits: significant digits of the digest. An artist with gid ``"noise"`` (a curve at
            rounding level) contributes its size only.
        component: the name of a web component in ``kltools/components``. Where scripts run, it
            takes the place of ``fig`` and lets the reader move what the figure shows; elsewhere
            (paper, no JavaScript) the figure stays.

    Raises:
        ValueError: ``alt`` is too short to say what is seen, or there is no such component.
    """
    if len(alt.split()) < 6:
        raise ValueError(f"alt: expected a sentence that says what is seen, got {alt!r}")
    from IPython.display import display
    from matplotlib import pyplot as plt

    picture = svg(fig, alt)
    if len(picture) > HEAVY:
        picture = raster(fig, alt)
    if component is not None:
        picture = f"<kl-{component}>{picture}</kl-{component}>\n{script(component)}"
    bundle = {"text/html": picture, "text/plain": f"{alt}\n{digest(fig, digits=digits)}"}
    plt.close(fig)
    display(bundle, raw=True)


def script(component: str) -> str:
    """The ``<script>`` that defines the element ``<kl-component>``; no other file is needed."""
    path = Path(__file__).with_name("components") / f"{component}.js"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.js"))
        raise ValueError(f"component: expected one of {known}, got {component!r}")
    source = path.read_text(encoding="utf8")
    return f'<script data-component="{component}">\n{source}</script>'


def svg(fig: Any, alt: str) -> str:
    """One inline ``<svg>``: ink is ``currentColor``, ids are unique, ``alt`` is its name."""
    buffer = io.StringIO()
    fig.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    s = buffer.getvalue()
    s = s[s.index("<svg") :]
    s = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", s, flags=re.S)
    s = re.sub(r"<defs>\s*<style.*?</defs>", "", s, flags=re.S)  # its `*` would reach the page
    # hundredths of a point are enough, in tags alone: a tick label keeps its digits
    s = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), s)
    s = re.sub(r"(fill|stroke): ?#000000", r"\1: currentColor", s)
    s = s.replace(' id="noise"', "")  # several curves may be noise, an id is for one
    prefix = "f" + hashlib.sha256(s.encode()).hexdigest()[:6]
    s = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', s)
    s = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{prefix}", s).replace("xlink:href", "href")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', s)
    if box is None:
        raise ValueError("fig: matplotlib wrote an SVG without a viewBox")
    width, height = (round(float(v) * 4 / 3) for v in box.groups())
    body = re.sub(r"\n\s*", "\n", s[s.index(">") + 1 :]).strip()
    return (
        f'<svg class="kl-figure" role="img" aria-label="{escape(alt, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg" {box[0]} width="{width}" height="{height}" '
        f'style="max-width:100%;height:auto" '
        f'fill="currentColor" stroke-linejoin="round" stroke-linecap="butt">\n{body}'
    )


def raster(fig: Any, alt: str) -> str:
    """Two WebP pictures of ``fig``, in dark and in light ink; the page shows the one for its theme.

    For figures of many marks. Both are transparent, at twice the size for sharp screens.
    """
    images = []
    for name, ink in INKS.items():
        buffer = io.BytesIO()
        with _inked(fig, ink):
            options = {"quality": 80, "method": 6}
            fig.savefig(buffer, format="webp", dpi=192, bbox_inches="tight", pil_kwargs=options)
        width, height = (round(n / 2) for n in _size(buffer))
        source = base64.b64encode(buffer.getvalue()).decode()
        images.append(
            f'<img class="{name}" alt="" width="{width}" height="{height}" '
            f'src="data:image/webp;base64,{source}">'
        )
    label = escape(alt, quote=True)
    return f'<div class="kl-figure" role="img" aria-label="{label}">{"".join(images)}</div>{SWITCH}'


def _size(picture: io.BytesIO) -> tuple[int, int]:
    from PIL import Image

    return Image.open(picture).size


@contextmanager
def _inked(fig: Any, ink: str) -> Iterator[None]:
    """Draw in ``ink`` what is drawn in black, for a while."""
    from matplotlib.colors import to_rgb, to_rgba_array

    undo = []
    for artist in fig.findobj():
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            old = getattr(artist, f"get_{name}", lambda: None)()
            if old is None or (isinstance(old, str) and old in ("auto", "none")):
                continue
            new = to_rgba_array(old)
            black = (new[:, :3] == 0).all(1) & (new[:, 3] > 0)
            if black.any():
                new[black, :3] = to_rgb(ink)
                undo.append((getattr(artist, f"set_{name}"), old))
                undo[-1][0](new if len(new) > 1 else tuple(new[0]))
    try:
        yield
    finally:
        for setter, old in reversed(undo):
            setter(old)


def digest(fig: Any, *, digits: int = 3) -> str:
    """What ``fig`` draws, as text: labels, and each artist's name, size, ends and extremes."""
    from matplotlib.collections import PathCollection

    out = []
    for k, ax in enumerate(fig.axes, 1):
        labels = f"x {ax.get_xlabel()!r}, y {ax.get_ylabel()!r}, title {ax.get_title()!r}"
        out.append(f"axes {k}: {labels}")
        for line in ax.get_lines():
            x, y = line.get_data()
            out.append(_describe("line", line, _floats(x), _floats(y), digits))
        for c in ax.collections:
            points = _floats(c.get_offsets()).reshape(-1, 2)
            if not isinstance(c, PathCollection) and c.get_paths():  # filled areas, contours
                points = np.concatenate([p.vertices for p in c.get_paths()])
            out.append(_describe("points", c, points[:, 0], points[:, 1], digits))
            if c.get_array() is not None:  # what the colors stand for
                out.append(f"    values {_range(_floats(c.get_array()), digits)}")
        for image in ax.get_images():
            z = _floats(image.get_array())
            out.append(f"  image {z.shape}: {_range(z, digits)}")
        bars = [p for p in ax.patches if hasattr(p, "get_height")]
        if bars:
            out.append(f"  bars: {_values(_floats([p.get_height() for p in bars]), digits)}")
        widths = _floats([p.get_width() for p in bars])
        if bars and np.ptp(widths) > 1e-9 * abs(widths).max():  # horizontal bars
            out.append(f"  widths: {_values(widths, digits)}")
        out += [f"  text {t.get_text()!r}" for t in ax.texts if t.get_text()]
    return "\n".join(out)


def _floats(values: Any) -> np.ndarray:
    return np.asarray(np.ma.filled(np.ma.asarray(values, dtype=float), np.nan))


def _describe(kind: str, artist: Any, x: np.ndarray, y: np.ndarray, digits: int) -> str:
    label = str(artist.get_label())
    name = f" {label!r}" if label and not label.startswith("_") else ""
    if artist.get_gid() == "noise":
        return f"  {kind}{name}: {len(x)} points at rounding level"
    if len(x) == 0:
        return f"  {kind}{name}: empty"
    sx, sy = _round(x, digits), _round(y, digits)
    ends = f"({sx[0]}, {sy[0]}) … ({sx[-1]}, {sy[-1]})"
    return f"  {kind}{name}: {len(x)} points, {ends}, y {_range(y, digits)}"


def _round(v: np.ndarray, digits: int) -> list[str]:
    """``digits`` significant digits; what is far below the scale of ``v`` is rounding, so 0."""
    finite = np.abs(v[np.isfinite(v)])
    floor = 1e-9 * finite.max() if finite.size else 0.0
    return [
        str(u) if not np.isfinite(u) else "0" if abs(u) <= floor else f"{u:.{digits}g}" for u in v
    ]


def _range(v: np.ndarray, digits: int) -> str:
    finite = v[np.isfinite(v)]
    if finite.size == 0:
        return "no finite value"
    low, high = _round(np.array([finite.min(), finite.max()]), digits)
    return f"from {low} to {high}"


def _values(v: np.ndarray, digits: int) -> str:
    if len(v) > 12:
        return f"{len(v)}, {_range(v, digits)}"
    return "[" + ", ".join(_round(v, digits)) + "]"

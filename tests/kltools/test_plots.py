"""plots: the picture follows the page, and its digest changes with what is drawn."""

import base64
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from kltools import plots

ALT = "A line that rises from zero to one hundredth."


@pytest.fixture(autouse=True)
def style():
    with plt.rc_context():
        plots.use()
        yield
    plt.close("all")


def figure(y=(0.0, 0.01), label="rise"):
    fig, ax = plt.subplots()
    ax.plot([0, 1], y, label=label)
    ax.set(xlabel="step", ylabel="nats", title="one")
    ax.legend()
    return fig


def luminance(color):
    c = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in c)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("paper", ["#ffffff", "#121212"])
def test_every_color_has_contrast_three_on_white_and_on_dark(paper):
    for color in [*plots.COLORS, plots.GREY]:
        assert contrast(color, paper) >= 3, color
    assert len(set(plots.COLORS)) == len(plots.COLORS) == len(plots.LINESTYLES)


def test_svg_is_well_formed_and_has_its_alt_as_name():
    svg = plots.svg(figure(), 'less < more & "quoted"')
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg") and root.get("role") == "img"
    assert root.get("aria-label") == 'less < more & "quoted"'
    box = [float(v) for v in root.get("viewBox").split()]
    assert box[2] > 300 and int(root.get("width")) == pytest.approx(box[2] * 4 / 3, abs=1)
    assert root.get("fill") == "currentColor"


def test_ink_is_the_current_color_and_there_is_no_paper():
    svg = plots.svg(figure(), ALT)
    assert "#000" not in svg and "black" not in svg
    assert "#ffffff" not in svg and "white" not in svg
    assert "stroke: currentColor" in svg
    assert "<style" not in svg and "<metadata" not in svg and "<!--" not in svg
    assert plots.COLORS[0].lower() in svg.lower()


def test_ids_are_unique_to_the_figure_and_every_reference_has_its_target():
    one, two = (plots.svg(figure(y), ALT) for y in ((0, 0.01), (0, 0.02)))
    ids = [set(re.findall(r'\bid="([^"]+)"', s)) for s in (one, two)]
    assert ids[0] and not ids[0] & ids[1]
    for svg, known in zip((one, two), ids):
        used = re.findall(r'(?:url\(|href=")#([^)"]+)', svg)
        assert used and set(used) <= known


def test_the_same_figure_gives_the_same_bytes():
    assert plots.svg(figure(), ALT) == plots.svg(figure(), ALT)


def test_tick_labels_keep_their_digits():
    fig, ax = plt.subplots()
    ax.set_yticks([0.0025, 0.0075], ["0.0025", "0.0075"])
    ax.set_title("0.12345")
    ax.plot([0, 1 / 3], [0.001, 0.009])
    svg = plots.svg(fig, ALT)
    assert {"0.0025", "0.0075", "0.12345"} <= set(re.findall(r">([^<>\n]+)</text>", svg))
    for tag in re.findall(r"<path[^>]*>", svg):  # coordinates do not
        assert not re.search(r"\.\d{3}", tag)


def test_digest_of_a_line():
    assert plots.digest(figure()).splitlines() == [
        "axes 1: x 'step', y 'nats', title 'one'",
        "  line 'rise': 2 points, (0, 0) … (1, 0.01), y from 0 to 0.01",
    ]


def test_digest_changes_with_what_is_drawn_and_not_with_rounding():
    base = plots.digest(figure())
    for other in (figure((0, 0.0101)), figure((0.001, 0.01)), figure(label="fall")):
        assert plots.digest(other) != base
    assert plots.digest(figure((0, 0.01 * (1 + 1e-9)))) == base
    assert plots.digest(figure((1e-18, 0.01))) == base


def test_digest_marks_noise_gaps_and_masks():
    fig, ax = plt.subplots()
    (line,) = ax.plot([1, 2, 3], [1e-16, 2e-16, 3e-16], label="rounding")
    line.set_gid("noise")
    ax.plot([0, 1, 2], np.ma.masked_greater([1.0, np.nan, 9.0], 5))
    ax.plot([], [])
    assert plots.digest(fig).splitlines()[1:] == [
        "  line 'rounding': 3 points at rounding level",
        "  line: 3 points, (0, 1) … (2, nan), y from 1 to 1",
        "  line: empty",
    ]


def test_two_curves_of_noise_share_no_id():
    fig, ax = plt.subplots()
    for height in (1, 2):
        ax.plot([1, 2], [height, height], gid="noise")
    ids = re.findall(r' id="([^"]+)"', plots.svg(fig, "two flat lines, one above the other"))
    assert len(ids) > 5 and len(ids) == len(set(ids))


def test_digest_of_points_areas_images_bars_and_texts():
    fig, axes = plt.subplots(2, 4)
    (a, b, c, d), (e, f, g, h) = axes
    a.scatter([1, 2, 3], [4, 5, 6], label="dots")
    b.scatter([7], [8], c=[0.5])
    c.fill_between([0, 1], [0, 0], [1, 3])
    d.imshow(np.arange(6).reshape(2, 3))
    e.bar([0, 1], [0.25, 0.75])
    f.barh([0, 1], [2, 5])
    g.pcolormesh(np.arange(6).reshape(2, 3))
    h.text(0, 0, "here")
    lines = plots.digest(fig).splitlines()
    assert "  points 'dots': 3 points, (1, 4) … (3, 6), y from 4 to 6" in lines
    assert "  points: 1 points, (7, 8) … (7, 8), y from 8 to 8" in lines
    assert "    values from 0.5 to 0.5" in lines
    assert any(re.match(r"  points: \d+ points.*y from 0 to 3$", x) for x in lines)
    assert "  image (2, 3): from 0 to 5" in lines
    assert "  bars: [0.25, 0.75]" in lines
    assert "  widths: [2, 5]" in lines
    assert "    values from 0 to 5" in lines
    assert "  text 'here'" in lines


def test_digest_of_contours_changes_with_the_surface():
    x = np.linspace(-1, 1, 21)
    digests = []
    for power in (2, 4):
        fig, ax = plt.subplots()
        ax.contour(x, x, x[:, None] ** power + x**2, levels=[0.2, 0.6])
        digests.append(plots.digest(fig))
    assert digests[0] != digests[1]


def test_many_bars_are_summarized():
    fig, ax = plt.subplots()
    ax.bar(range(13), np.arange(13) / 12)
    assert "  bars: 13, from 0 to 1" in plots.digest(fig)


def test_show_displays_picture_and_digest_and_closes_the_figure(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    fig = figure()
    plots.show(fig, ALT)
    ((bundle,), keywords), = shown  # fmt: skip
    assert keywords == {"raw": True} and set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/html"].startswith("<svg") and bundle["text/html"].endswith("</svg>")
    assert bundle["text/plain"].splitlines()[0] == ALT
    assert "0.01" in bundle["text/plain"]
    assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("alt", ["", "A figure.", "loss curve"])
def test_show_refuses_an_alternative_that_says_nothing(alt):
    with pytest.raises(ValueError, match="alt: expected a sentence that says what is seen"):
        plots.show(figure(), alt)


def test_lines_differ_in_style_as_well_as_in_color():
    _, ax = plt.subplots()
    lines = [ax.plot([0, 1], [k, k])[0] for k in range(6)]
    assert len({line.get_color() for line in lines}) == 6
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 6


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **_: shown.append(bundle))
    return shown


def test_a_component_holds_the_figure_and_brings_its_script(displayed):
    plots.show(figure(), ALT)
    plots.show(figure(), ALT, component="two-bumps")
    plain, alive = displayed
    assert alive["text/plain"] == plain["text/plain"], "notebooks compare the figure, as ever"
    assert alive["text/html"] == (
        f"<kl-two-bumps>{plain['text/html']}</kl-two-bumps>\n{plots.script('two-bumps')}"
    )


def test_a_script_is_the_whole_file_and_ends_once():
    script = plots.script("two-bumps")
    source = Path(plots.__file__).parent / "components" / "two-bumps.js"
    assert source.read_text(encoding="utf8") in script
    assert script.startswith('<script data-component="two-bumps">')
    assert script.lower().count("</script") == 1 and script.endswith("</script>")


@pytest.mark.parametrize("name", ["", "two_bumps", "two-bumps.js"])
def test_an_unknown_component_is_refused_with_the_known_ones(name, displayed):
    message = f"component: expected one of \\[.*'two-bumps'.*\\], got {name!r}"
    with pytest.raises(ValueError, match=message):
        plots.script(name)
    with pytest.raises(ValueError, match=message):
        plots.show(figure(), ALT, component=name)
    assert not displayed


# ---------------------------------------------------------------- heavy figures


def heavy():
    fig, ax = plt.subplots()
    ax.scatter(*np.random.default_rng(0).standard_normal((2, 9000)), s=4)
    ax.plot([-3, 3], [0, 0], color="black")
    ax.set(xlabel="x", ylabel="y", title="many")
    return fig


def pictures(html: str) -> dict[str, np.ndarray]:
    """The pictures of a heavy figure as RGBA arrays, by the paper that each is for."""
    found = re.findall(
        r'<img class="([\w-]+)" alt="" width="(\d+)" height="(\d+)" [^>]*,(.*?)"', html
    )
    out = {}
    for name, width, height, data in found:
        image = Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
        assert abs(image.width - 2 * int(width)) <= 1 and abs(image.height - 2 * int(height)) <= 1
        out[name] = np.asarray(image)
    return out


def test_a_heavy_figure_is_two_small_pictures_in_two_inks(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    fig = heavy()
    assert len(plots.svg(fig, ALT)) > plots.HEAVY
    plots.show(fig, ALT)
    html = shown[0]["text/html"]
    assert html.startswith(f'<div class="kl-figure" role="img" aria-label="{ALT}">')
    assert len(html) < plots.HEAVY and "<svg" not in html
    assert "9000 points" in shown[0]["text/plain"]  # the digest is that of the figure
    both = pictures(html)
    assert list(both) == ["on-light", "on-dark"]
    for name, paper in (("on-light", 255), ("on-dark", 0x12)):
        image = both[name].astype(float)
        alpha = image[..., 3:] / 255
        seen = image[..., :3] * alpha + paper * (1 - alpha)
        gray = np.ptp(seen, axis=-1) < 12  # the ink of texts, ticks and the line
        assert abs(seen[gray] - paper).max() > 190, f"no ink on {name}"
    blue = [(im[..., 2].astype(int) - im[..., 0] > 60).sum() for im in both.values()]
    assert blue[0] > 1000 and abs(blue[0] - blue[1]) < 0.05 * blue[0]  # the marks keep their color


def test_drawing_in_another_ink_leaves_the_figure_as_it_was():
    fig = heavy()
    before = plots.svg(fig, ALT)
    plots.raster(fig, ALT)
    assert plots.svg(fig, ALT) == before


@pytest.mark.parametrize(
    ("wrapper", "hidden"),
    [
        ("<html>", "on-dark"), ('<html data-theme="dark">', "on-light"),
        ('<html theme="dark">', "on-light"),
        ('<html><body data-jp-theme-light="false">', "on-light"),
        ('<html><body data-jp-theme-light="true">', "on-dark"),
    ],
)  # fmt: skip
def test_one_of_the_two_is_shown_on_the_page_in_colab_and_in_jupyterlab(browser, wrapper, hidden):
    page = browser.new_page()
    page.set_content(wrapper + plots.raster(figure(), ALT))
    for name in plots.INKS:
        assert page.locator(f"img.{name}").is_visible() == (name != hidden)
    page.close()

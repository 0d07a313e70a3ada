"""What the published pages are made with: formulas, repairs, sections, search entries."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import formulas
import publish
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]


def formula(tex: str) -> str:
    return formulas.mathml(tex)


# ---------------------------------------------------------------- formulas


@pytest.mark.parametrize(
    ("tex", "letter"),
    [
        (r"\mathbb E", "𝔼"), (r"\mathbb R", "ℝ"), (r"\mathbb P", "ℙ"), (r"\mathcal L", "ℒ"),
        (r"\mathcal N", "𝒩"), (r"\mathbf x", "𝐱"), (r"\mathbf 1", "𝟏"), (r"\mathfrak g", "𝔤"),
        (r"\mathcal B", "ℬ"), (r"\mathsf T", "𝖳"),
    ],
)  # fmt: skip
def test_styled_letters_are_characters_of_their_own(tex, letter):
    assert "".join(ET.fromstring(formula(tex)).itertext()) == letter


def test_names_of_functions_have_their_spaces():
    assert formula(r"2\log x").count("mspace") == 2
    assert "mspace" not in formula(r"\log(x)")
    assert "mspace" not in formula("xy")


def test_a_sign_is_no_difference():
    assert formula("a=-b").count('form="prefix"') == 1
    assert formula("f(-x)").count('form="prefix"') == 1
    assert 'form="prefix"' not in formula("a-b")
    assert 'form="prefix"' not in formula(r"\langle a\rangle-\lvert b\rvert-c")
    assert formula(r"\lvert-a\rvert").count('form="prefix"') == 1


def test_the_space_of_a_name_follows_its_index():
    assert formula(r"2\log_2 x").count("mspace") == 2 and "\u2061" not in formula(r"\log_2 x")
    index = ET.fromstring(formula(r"\operatorname{Cov}_b f")).find(".//msub")
    assert [e.text for e in index] == ["Cov", "b"]


def test_dots_stand_between_their_commas_and_signs_of_a_script_are_tight():
    assert "<mi>…</mi>" in formula(r"1,\dots,L")
    assert formula("a^{l-1}").count('lspace="0em"') == 1 and "lspace" not in formula("a-1")


def test_bars_stand_at_what_they_enclose():
    assert formula(r"\lvert x\rvert").count('lspace="0em"') == 2
    assert "lspace" not in formula(r"x\mid y")


def test_columns_of_an_alignment_meet_at_the_sign():
    cells = ET.fromstring(formula(r"\begin{aligned}a&=b\\cc&=d\end{aligned}")).findall(".//mtd")
    assert [c.get("style").split(";")[0] for c in cells] == [
        "text-align:right",
        "text-align:left",
    ] * 2
    assert all("0em .25em 0em" in c.get("style") for c in cells)


@pytest.mark.parametrize("tex", [r"\frac{1}", r"\nosuch", r"\underbrace{x}_y"])
def test_what_cannot_be_drawn_is_refused(tex):
    with pytest.raises(ValueError):
        formula(tex)


def test_a_root_asks_for_its_sign_and_an_italic_for_its_letter():
    assert {"√", "𝑥", "1"} <= formulas.characters(formula(r"\sqrt{x+1}"))
    assert "ℎ" in formulas.characters(formula("h")) and "√" not in formulas.characters(formula("h"))


def test_a_formula_carries_no_second_copy_of_itself():
    assert "annotation" not in formula(r"\frac{1}{2}") and "\\frac" not in formula(r"\frac{1}{2}")


TERMS = st.sampled_from([r"x_i", r"\log p", r"\frac12", r"\sigma^2", r"(a+b)", r"\mathbb E q"])
SIGNS = st.sampled_from(["+", "-", "=", r"\le", r"\cdot", ","])


@given(st.lists(st.tuples(TERMS, SIGNS), min_size=1, max_size=12))
def test_pieces_of_a_long_formula_are_the_formula(parts):
    whole = formula(" ".join(f"{term} {sign}" for term, sign in parts) + " z")
    pieces = formulas.breakable(whole).split("<wbr>")
    texts = ["".join(ET.fromstring(piece).itertext()) for piece in pieces]
    assert "".join(texts) == "".join(ET.fromstring(whole).itertext())
    assert all(texts)


def test_a_line_ends_behind_a_relation_and_not_within_a_short_formula():
    assert "<wbr>" not in formulas.breakable(formula("a=b"))
    pieces = formulas.breakable(formula("D(p\\|q)=H(p,q)-H(p)=1.2345678")).split("<wbr>")
    assert len(pieces) == 3
    assert "".join(ET.fromstring(pieces[0]).itertext()).endswith("=")


# ---------------------------------------------------------------- repairs


def test_boxes_fold_without_a_script():
    body = (
        '<p>a</p><div class="solution dropdown admonition" id="s">\n\n<p class="admonition-title">'
        'Solution to <a href="#e">Exercise 1</a></p><div>in<div>ner</div></div></div><div>b</div>'
    )
    assert publish.fold(body) == (
        '<p>a</p><details class="solution admonition" id="s"><summary class="admonition-title">'
        "Solution to Exercise 1</summary><div>in<div>ner</div></div></details><div>b</div>"
    )
    assert publish.fold("<div><p>nothing to fold</p></div>") == "<div><p>nothing to fold</p></div>"


def test_code_keeps_its_text_and_loses_idle_tags():
    code = (
        '<pre><span></span><span class="n">x</span><span class="w"> </span><span class="o">=</span>'
    )
    code += '<span class="mi">1</span></pre>'
    assert publish.tidy(code) == '<pre>x =<span class="mi">1</span></pre>'


def test_no_line_begins_with_a_sign_that_belongs_to_what_is_before_it():
    pieces = formulas.with_signs("<math>a</math><wbr><math>b</math>", ">,")
    assert pieces == "<math>a</math><wbr><span><math>b</math>&gt;,</span>"
    assert formulas.with_signs("<math>a</math>", "") == "<math>a</math>"
    signs = {
        ", so": ",",
        ").": ").",
        " (a": "",
        "(a": "",
        "-th word": "-th",
        "-these": "-",
        "s": "",
    }
    assert {text: formulas.AFTER.match(text)[0] for text in signs} == signs
    assert publish.tidy("<p>5 % of</p>") == "<p>5\u00a0% of</p>"
    for kept in ("<pre>5 % 2</pre>", "<svg><text>5 % of</text></svg>"):
        assert publish.tidy(kept) == kept


def test_names_may_be_broken_at_their_joints():
    code = '<code class="docutils"><span class="pre">a_b.c(1.5)</span></code> d_e <code>x</code>'
    want = '<code class="docutils">a_<wbr>b.<wbr>c(1.5)</code> d_e <code>x</code>'
    assert publish.tidy(code) == want


def test_a_component_s_script_is_taken_out_of_the_body():
    body = '<kl-x><svg/></kl-x>\n<script data-component="x">let a = "</p>";</script><p>on</p>'
    assert publish.tidy(body) == "<kl-x><svg/></kl-x>\n<p>on</p>"


def test_pictures_become_files(tmp_path):
    body = '<img alt="" src="data:image/webp;base64,aGVsbG8="> <img src="other.png">'
    out = publish.pictures(body, tmp_path, "../")
    (file,) = (tmp_path / "_images").iterdir()
    assert file.read_bytes() == b"hello"
    assert f'loading="lazy" decoding="async" src="../_images/{file.name}"' in out
    assert '<img src="other.png">' in out


@pytest.mark.parametrize("page", ["divergence/forward-and-reverse", "transformer/fine-tune-bert"])
def test_sections_tell_a_height_and_nothing_else_changes(page):
    html = (ROOT / "_build/html/chapters" / f"{page}.html").read_text(encoding="utf8")
    told = re.findall(r'<section style="--phone:(\d+)px;--desk:(\d+)px"', html)
    assert len(told) == len(re.findall("<h2>", html)) > 5
    assert all(100 < int(desk) <= int(phone) * 1.5 for phone, desk in told)
    plain = re.sub(r' style="--phone:\d+px;--desk:\d+px"', "", html)
    body = plain[plain.index("<article") : plain.index("</article>")]
    assert re.sub(r' style="--phone:\d+px;--desk:\d+px"', "", publish.tell_heights(body)) == body


# ---------------------------------------------------------------- styles and search


def test_tokens_of_code_have_contrast_on_both_papers():
    from test_figures import luminance

    css, plain = publish.token_styles()
    pairs = re.findall(r"light-dark\((#\w{6}),(#\w{6})\)", css)
    assert len(pairs) > 20 and "n" in plain and "k" not in plain
    for light, dark in pairs:
        for color, paper in ((light, "#ffffff"), (dark, "#121212")):
            a, b = sorted((luminance(color), luminance(paper)))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (color, paper)


def test_symbols_are_found_by_name():
    assert publish.symbol_names("∇δ and x") == "delta gradient nabla"
    assert publish.symbol_names("plain words") == ""


def test_a_page_is_cut_into_sections_with_code_and_pictures():
    html = """<nav>menu</nav><article><section id="t"><h1>Title<a class="headerlink">#</a></h1>
      <p>one <math><mi>σ</mi></math></p><section id="s"><h2>Second</h2><pre>code_here = 1</pre>
      <svg aria-label="a rising line"><text>tick</text></svg><p>end</p></section></section>
      </article><footer>foot</footer>"""
    title, parts = publish.search_entry("a.html", html)
    assert title == "Title" and [p[:2] for p in parts] == [
        ["Title", "a.html"],
        ["Second", "a.html#s"],
    ]
    assert parts[0][2] == "one σ" and parts[0][3] == "sigma"
    assert "code_here = 1" in parts[1][2] and "a rising line" in parts[1][2]
    assert "tick" not in parts[1][2] and "foot" not in parts[1][2] and "menu" not in str(parts)


def test_facts_name_time_memory_machine_and_files():
    run = {
        "seconds": 12.4, "memory_mb": 1510, "download_mb": 126, "cores": 2,
        "device": {"kind": "cpu", "name": "AMD EPYC 7B13 Processor", "threads": 1},
    }  # fmt: skip
    text = publish.facts(run)
    assert "12 s with 1.5 GB of memory on 1 thread of 2 cores (AMD EPYC 7B13), no GPU" in text
    assert "126 MB" in text
    assert "MB" not in publish.facts(run | {"download_mb": 0})
    gpu = run | {"device": {"kind": "cuda", "name": "NVIDIA H100", "threads": 1}}
    assert "on one NVIDIA H100" in publish.facts(gpu)

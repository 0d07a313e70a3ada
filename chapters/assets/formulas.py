"""Formulas, set when the book is built: KaTeX writes MathML; what browsers draw wrong is mended.

KaTeX (the copy that sphinxcontrib-katex carries) runs inside Python through V8 (mini-racer).
Browsers draw MathML and screen readers speak it; no reader's browser typesets. KaTeX means its
MathML for screen readers alone and leaves some spaces to its HTML, which the book does not use.
"""

import atexit
import importlib.util
import re
import unicodedata
import xml.etree.ElementTree as ET
from functools import cache
from html import escape
from pathlib import Path

APPLY = "\u2061"  # function application, which has no width
SCRIPTS = {"msub", "msup", "msubsup", "munder", "mover", "munderover"}
ROWS = {"math", "mrow", "mstyle", "mtd", "mpadded", "msqrt", "menclose"}
AFTER = re.compile(r"-th\b|[^\w\s(]*")  # right after an inline formula this begins no line
RELATIONS, SIGNS = set("=<>≤≥≈≠→⇒⇔∼∈⊂⊆∝≡:,;"), set("+−±·×/")


@cache
def _katex():
    from py_mini_racer import MiniRacer

    script = Path(importlib.util.find_spec("sphinxcontrib.katex").origin).with_name("katex.min.js")
    engine = MiniRacer()
    atexit.register(engine.close)  # its thread would keep the interpreter from ending
    engine.eval(script.read_text(encoding="utf8"))
    engine.eval(
        "function render(tex, display) { return katex.renderToString(tex, {displayMode: display,"
        " output: 'mathml', throwOnError: true, strict: false, trust: false}); }"
    )
    return engine


def mathml(tex: str, display: bool = False) -> str:
    """One formula as MathML.

    Raises:
        ValueError: KaTeX refuses it, or browsers would draw it wrong.
    """
    from py_mini_racer import JSEvalException

    if brace := re.search(r"\\(?:under|over)brace", tex):
        raise ValueError(f"browsers cut the stretched brace of {brace[0]}: write it otherwise")
    try:
        formula = _katex().call("render", tex, display)
    except JSEvalException as e:
        raise ValueError(str(e).split("\n")[0]) from None
    formula = formula.removeprefix('<span class="katex">').removesuffix("</span>")
    # a copy of the source in each formula would double the page
    formula = re.sub(r"<annotation.*?</annotation>|</?semantics>", "", formula, flags=re.S)
    tree = ET.fromstring(formula.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
    mend(tree)
    return ET.tostring(tree, encoding="unicode")


def mend(tree: ET.Element) -> None:
    """Letters of a style, names of functions, signs, dots and sizes, as browsers draw them."""
    for e in tree.iter():
        _restyle(e)
        if e.tag in SCRIPTS:
            base = list(e[0])  # Cov_b: the space that follows a name would stand inside it
            if len(base) > 1 and _is_name(base[0]) and base[1].text == APPLY:
                e[0] = base[0]
        if e.tag == "mtable":
            _align(e)
    for e in tree.iter():
        if e.tag in ROWS:
            e[:] = _spaced(list(e))
        if e.tag in {"msub", "msup", "msubsup"}:  # no room around signs in a script
            for sign in [mo for script in e[1:] for mo in script.iter("mo")]:
                sign.set("lspace", "0em")
                sign.set("rspace", "0em")


def _restyle(e: ET.Element) -> None:
    """Browsers heed no ``mathvariant`` but normal: a styled letter is a character of its own."""
    variant = e.get("mathvariant", "normal")
    if variant != "normal" and e.tag in ("mi", "mn"):
        e.text = "".join(_letter(c, variant) for c in e.text or "")
        del e.attrib["mathvariant"]
    if e.tag == "mo" and e.text in ("…", "⋯"):
        e.tag = "mi"  # as an operator it would stand apart from its commas
    if e.tag == "mo" and e.text in ("∣", "∥") and e.get("stretchy") and not e.get("minsize"):
        e.set("lspace", "0em")  # |x|, which is no relation
        e.set("rspace", "0em")
    if e.get("minsize") == "1.2em":  # \big: the closing one, with an exponent, is drawn broken
        del e.attrib["minsize"], e.attrib["maxsize"]
        e.set("stretchy", "false")


def _align(table: ET.Element) -> None:
    """Browsers heed no ``columnalign`` and no ``columnspacing``, but they heed style."""
    align = table.attrib.pop("columnalign", "").split()
    gaps = [float(g.removesuffix("em")) for g in table.attrib.pop("columnspacing", "").split()]
    for row in table:
        for k, cell in enumerate(row):
            before, after = (gaps[min(i, len(gaps) - 1)] / 2 if gaps else 0.4 for i in (k - 1, k))
            left, right = before * (k > 0), after * (k < len(row) - 1)
            side = align[min(k, len(align) - 1)] if align else "center"
            cell.set("style", f"text-align:{side};padding:.25em {right:g}em .25em {left:g}em")


def _letter(c: str, variant: str) -> str:
    style = variant.upper().replace("BOLD-", "BOLD ")
    name = unicodedata.name(c).split()[-1]
    kind = f"DIGIT {name}" if c.isdigit() else f"{'CAPITAL' if c.isupper() else 'SMALL'} {name}"
    return named(f"MATHEMATICAL {style} {kind}", "") or named(f"{style} {kind}", c)


def named(name: str, otherwise: str) -> str:
    """The character of this Unicode name."""
    try:
        return unicodedata.lookup(name)
    except KeyError:
        return otherwise


def _is_name(e: ET.Element) -> bool:
    """Is it log, exp, argmin … , also with an index?"""
    return len(e.text or "") > 1 if e.tag == "mi" else e.tag in SCRIPTS and _is_name(e[0])


def _spaced(row: list[ET.Element]) -> list[ET.Element]:
    """A row with thin spaces around names of functions, and signs that are signs."""
    thin = {"width": "0.1667em"}
    row = [e for e in row if e.text != APPLY]
    out: list[ET.Element] = []
    for k, e in enumerate(row):
        last, after = (out[-1] if out else None), (row[k + 1] if k + 1 < len(row) else None)
        closed = last is not None and (last.text in set(")]}!⟩⌉⌋") or _closes(out))
        if last is not None and last.tag == "mo" and not closed and e.text in ("−", "+", "±"):
            e.set("form", "prefix")
        apart = closed or (last is not None and last.tag not in ("mspace", "mo"))
        if _is_name(e) and apart:
            out.append(ET.Element("mspace", thin))
        out.append(e)
        joins = after is None or after.tag == "mspace" or _is_sign_or_fence(after)
        if _is_name(e) and not joins:
            out.append(ET.Element("mspace", thin))
    return out


def _closes(row: list[ET.Element]) -> bool:
    """Does a row end with the second bar of |x|?"""
    bars = [e for e in row if e.tag == "mo" and e.text in ("∣", "∥") and e.get("lspace") == "0em"]
    return len(bars) % 2 == 0 and bars[-1:] == row[-1:]


def _is_sign_or_fence(e: ET.Element) -> bool:
    return e.tag == "mo" and (e.text in set("()[]{}|") or e.text in RELATIONS | SIGNS)


def breakable(formula: str, most: int = 16) -> str:
    """A long inline formula as pieces between which a line may end: browsers break no <math>."""
    row = ET.fromstring(formula)[0] if formula else ET.Element("mrow")
    if row.tag != "mrow" or len("".join(row.itertext())) <= most:
        return formula
    pieces, length, depth = [ET.Element("mrow")], 0, 0
    for k, part in enumerate(row):
        pieces[-1].append(part)
        text = "".join(part.itertext())
        length += len(text)
        if part.tag == "mo":
            depth += (text in "([{") - (text in ")]}")
        ends = text in RELATIONS or (text in SIGNS and length > most)
        if part.tag == "mo" and ends and (depth == 0 or length > most) and 0 < k < len(row) - 1:
            if text in SIGNS and part.get("form") != "prefix":
                part.set("form", "infix")  # at the end of a row it would lose its spaces
            if part.get("form") != "prefix":
                pieces.append(ET.Element("mrow"))
                length = 0
    done = [ET.tostring(piece, encoding="unicode") for piece in pieces]
    return "<wbr>".join(f"<math>{piece}</math>" for piece in done)


def with_signs(pieces: str, signs: str) -> str:
    """What `breakable` returns, the last piece on one line with the signs that follow it."""
    start, end, last = pieces.rpartition("<wbr>")
    return f"{start}{end}<span>{last}{escape(signs)}</span>" if signs else pieces


def characters(html: str) -> set[str]:
    """What the formulas of a page show, with the italic forms that browsers make themselves."""
    found: set[str] = set()
    for formula in re.findall(r"<math.*?</math>", html, re.S):
        tree = ET.fromstring(re.sub(r"&(?!amp;|lt;|gt;)", "&amp;", formula))
        found |= set("".join(tree.itertext()))
        if {"msqrt", "mroot"} & {e.tag for e in tree.iter()}:
            found.add("√")  # the sign itself stands in no text
        for e in tree.iter("mi"):
            if len(e.text or "") == 1 and e.get("mathvariant") != "normal":  # drawn italic
                name = unicodedata.name(e.text, "")
                kind = re.sub(r"^(?:LATIN|GREEK) (SMALL|CAPITAL) LETTER ", r"\1 ", name)
                found.add("ℎ" if e.text == "h" else named(f"MATHEMATICAL ITALIC {kind}", e.text))
    return found

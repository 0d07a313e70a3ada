"""nbgrader's feedback as a page that needs no network: formulas become MathML before it is made."""

import html
import re
import sys
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from nbgrader.preprocessors import ClearHiddenTests, NbGraderPreprocessor
from nbgrader.utils import is_grade

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "assets"))
import formulas

FORMULA = re.compile(r"```.*?```|`[^`\n]*`|\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.S)


def set_formulas(text: str) -> str:
    """Markdown with its formulas as MathML; code is left alone, and so is what is no formula."""

    def one(found: re.Match) -> str:
        tex = found[1] or found[2]
        if tex is None:
            return found[0]
        try:
            return formulas.mathml(tex.strip(), display=found[1] is not None)
        except ValueError:
            return f"<code>{html.escape(found[0])}</code>"

    return FORMULA.sub(one, text)


class Page(NbGraderPreprocessor):
    """Sets the formulas of the course's own text, and puts whose page it is and a list on top."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Whose it is, the points, and what failed, with a link to it."""
        nb, resources = super().preprocess(nb, resources)
        about = resources["nbgrader"]
        lines = [f"**{about['student']}**: {about['score']:g} of {about['max_score']:g} points", ""]
        lost = [c.metadata.nbgrader for c in nb.cells if is_grade(c)]
        lost = [own for own in lost if own.score < own.points]
        lines += ["Not earned:", ""] if lost else []
        lines += [
            f"- [{own.grade_id}](#{own.grade_id}): {own.score:g} of {own.points:g}" for own in lost
        ]
        nb.cells.insert(0, new_markdown_cell("\n".join(lines)))
        return nb, resources

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict, index: int
    ) -> tuple[NotebookNode, dict]:
        """Markdown cells of the course only: what a student wrote stays as it is."""
        if cell.cell_type == "markdown" and "nbgrader" in cell.metadata:
            cell.source = set_formulas(cell.source)
        return cell, resources


class HideTests(ClearHiddenTests):
    """Takes the hidden tests out of the course's test cells; other cells are not looked at."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict, index: int
    ) -> tuple[NotebookNode, dict]:
        """A student may write the words that mark a hidden test."""
        if is_grade(cell):
            return super().preprocess_cell(cell, resources, index)
        return cell, resources

"""The answers that the tests hand in: blocks of ``part-N.py``, each in place of one solution."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

from chapters.assignments.execute import Original
from chapters.assignments.grade import SOURCE, names

HERE = Path(__file__).resolve().parent
PARTS = names()


@dataclass(frozen=True)
class Answer:
    """One answer to one task."""

    part: str
    task: str
    right: bool
    name: str
    keeps: int
    says: str
    code: str


def answers(part: str) -> list[Answer]:
    """A part's blocks: ``# %% task | correct: style`` or ``# %% task | wrong: name | says: …``."""
    out = []
    text = (HERE / f"{part}.py").read_text(encoding="utf8")
    for block in re.split(r"^# %% ", text, flags=re.M)[1:]:
        head, _, code = block.partition("\n")
        task, kind, *more = (word.strip() for word in head.split("|"))
        kind, name = kind.split(": ", 1)
        options = dict(word.split(": ", 1) for word in more)
        assert kind in {"correct", "wrong"} and options.keys() <= {"keeps", "says"}, head
        keeps = 4 if kind == "correct" else int(options.get("keeps", 0))
        says = options.get("says", "")
        out.append(Answer(part, task, kind == "correct", name, keeps, says, code))
    return out


def source(part: str) -> NotebookNode:
    """The instructor's notebook."""
    return nbformat.read(SOURCE / part / f"{part}.ipynb", as_version=4)


def mark(cell: NotebookNode) -> dict:
    """What nbgrader knows of a cell."""
    return cell.metadata.nbgrader


def tasks(part: str) -> list[str]:
    """The names of a part's tasks, in order."""
    return [mark(c).grade_id for c in source(part).cells if mark(c).solution]


def stub(part: str) -> NotebookNode:
    """The notebook as a student finds it, by nbgrader's own steps."""
    nb = source(part)
    for step in (ClearSolutions(), ClearHiddenTests()):
        nb, _ = step.preprocess(nb, {"language": "python"})
    return nb


def course(part: str) -> dict[str, Original]:
    """What the gradebook would hold."""
    return {
        mark(c).grade_id: Original(c.source, mark(c).locked, mark(c).grade)
        for c in source(part).cells
        if c.cell_type == "code"
    }


def solved(part: str, *other: Answer) -> NotebookNode:
    """A student's notebook: the instructor's solution of every task, but for the other answers."""
    nb, written = stub(part), {a.task: a.code for a in other}
    for cell, whole in zip(nb.cells, source(part).cells, strict=True):
        if mark(cell).solution:
            own = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", whole.source, flags=re.M)
            cell.source = written.get(mark(cell).grade_id, own)
    return nb

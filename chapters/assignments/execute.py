"""nbgrader's step that runs a notebook: answers in a sandbox, tests out of their reach.

Everything else (which cells are graded, the marks, the gradebook, the feedback) is nbgrader's.
"""

import contextlib
import io
import warnings
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.api import Gradebook
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float, Integer

from chapters.assignments import runner
from chapters.assignments.collect import defined, name_of
from chapters.assignments.isolation import Limits, Submission


def printed(text: str) -> list[NotebookNode]:
    """A cell's output that is text and nothing else."""
    return [new_output("stream", name="stdout", text=text)] if text else []


def examine(source: str, names: dict) -> list[NotebookNode]:
    """Run a cell of the course itself; a failure becomes its message, without the tests' code."""
    out, error = io.StringIO(), []
    code = runner.python(source)
    with contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nbgrader takes a warning in a test for a failure
        try:
            exec(compile(code, "<test>", "exec"), names)
        except Exception as e:
            kind, message = type(e).__name__, str(e)
            shown = message if kind == "AssertionError" else f"{kind}: {message}"
            error = [new_output("error", ename=kind, evalue=message, traceback=[shown])]
    return printed(out.getvalue()) + error


@dataclass(frozen=True)
class Original:
    """A cell as the course has it: its code, and what nbgrader does with it."""

    source: str
    locked: bool
    graded: bool


def execute(nb: NotebookNode, course: dict[str, Original], submission: Submission) -> None:
    """Fill the outputs of a notebook: the student's cells there, the course's own here.

    Only the code in ``course`` runs here, each cell of it once: a cell that merely claims to be
    one of the course's runs with the student's. The student's functions appear to the tests under
    the names that the course gave them.
    """
    left, names = dict(course), {"__name__": "__main__"}
    for count, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
        own = left.pop(name_of(cell), None)
        if own and own.locked:
            cell.source = own.source
            tested = examine(own.source, names)
            if own.graded:
                cell.outputs = tested
                continue
        elif own:
            names.update((f, submission.function(f)) for f in defined(own.source))
        cell.outputs = printed(submission.run(cell.source, count)[0])


class IsolatedExecute(NbGraderPreprocessor):
    """Takes the place of nbgrader's ``Execute``; the course's cells come from the gradebook."""

    seconds = Float(Limits.seconds, help="for a cell or a call of a function").tag(config=True)
    total = Float(Limits.total, help="seconds for one notebook").tag(config=True)
    memory = Integer(Limits.memory, help="bytes, for all its processes").tag(config=True)
    isolated = Bool(True, help="False: no sandbox, only limits").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Fill the outputs of all code cells."""
        where = resources["nbgrader"]
        with Gradebook(where["db_url"]) as book:
            found = book.find_notebook(where["notebook"], where["assignment"])
            graded = {cell.name for cell in found.grade_cells}
            course = {
                cell.name: Original(cell.source, cell.locked, cell.name in graded)
                for cell in found.source_cells
            }
        limits = Limits(self.seconds, self.total, self.memory)
        with Submission(limits, self.isolated) as submission:
            execute(nb, course, submission)
        return nb, resources

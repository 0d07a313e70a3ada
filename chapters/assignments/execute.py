"""nbgrader's step that runs a notebook: answers in a sandbox, tests out of their reach.

Everything else (which cells are graded, the marks, the gradebook, the feedback) is nbgrader's.
"""

import ast
import contextlib
import io
import warnings

from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Bool, Float, Integer

from chapters.assignments import runner
from chapters.assignments.isolation import Limits, Submission


def functions(source: str) -> list[str]:
    """The names of the functions that a cell defines."""
    tree = ast.parse(source)
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


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


class IsolatedExecute(NbGraderPreprocessor):
    """Runs the student's cells in a sandbox, and the course's own cells here.

    Only what the gradebook holds is run here: a cell that merely claims to be one of the course's
    runs with the student's. Functions of the student's appear to the tests under their names.
    """

    seconds = Float(Limits.seconds, help="for a cell or a call of a function").tag(config=True)
    total = Float(Limits.total, help="seconds for one notebook").tag(config=True)
    memory = Integer(Limits.memory, help="bytes, for all its processes").tag(config=True)
    isolated = Bool(True, help="False: no sandbox, only limits").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Fill the outputs of all code cells."""
        where = resources["nbgrader"]
        own: dict[str, NotebookNode] = {}
        with Gradebook(where["db_url"]) as book:
            for cell in nb.cells:
                name = cell.metadata.get("nbgrader", {}).get("grade_id")
                with contextlib.suppress(MissingEntry):
                    found = book.find_source_cell(name, where["notebook"], where["assignment"])
                    graded = {c.name for c in found.notebook.grade_cells}
                    own.setdefault(name, (found.source, found.locked, name in graded))
        limits = Limits(self.seconds, self.total, self.memory)
        names: dict = {"__name__": "__main__"}
        with Submission(limits, self.isolated) as submission:
            for count, cell in enumerate((c for c in nb.cells if c.cell_type == "code"), 1):
                name = cell.metadata.get("nbgrader", {}).get("grade_id")
                source, locked, graded = own.pop(name, (None, False, False))
                cell.execution_count = count
                if graded:
                    cell.source = source
                    cell.outputs = examine(source, names)
                    continue
                if locked:
                    cell.source = source
                    examine(source, names)
                elif source is not None:
                    names.update((f, submission.function(f)) for f in functions(source))
                cell.outputs = printed(submission.run(cell.source)[0])
        return nb, resources

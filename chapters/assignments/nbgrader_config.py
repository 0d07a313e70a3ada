"""The course, for every nbgrader command that is run in a folder which loads this file."""

import sys
from pathlib import Path

import nbgrader.server_extensions.formgrader as formgrader

import kltools

HERE = Path(__file__).resolve().parent
BOOK = Path(kltools.__file__).resolve().parents[1]  # also where this folder is a copy elsewhere
sys.path.insert(0, str(BOOK))  # the steps of ours that are named below

c = get_config()  # noqa: F821 - nbgrader defines it
c.CourseDirectory.course_id = "kl-forward-and-backward"
c.GenerateAssignment.preprocessors = [
    f"nbgrader.preprocessors.{step}"
    for step in (  # nbgrader's own, without the one that starts a kernel to write tests
        "LockCells", "ClearSolutions", "ClearOutput", "CheckCellMetadata", "ComputeChecksums",
        "SaveCells", "ClearHiddenTests", "ComputeChecksums", "CheckCellMetadata",
    )
]  # fmt: skip
ours = "chapters.assignments.{}".format
c.Autograde.autograde_preprocessors = [
    ours("execute.IsolatedExecute"),
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    ours("feedback.HideTests"),  # the message stays, the tests do not go out
    ours("feedback.Page"),
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
c.HTMLExporter.extra_template_basedirs = [
    str(HERE / "templates"),
    str(Path(formgrader.__file__).parent / "templates"),
]

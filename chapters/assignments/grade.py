"""Hand out and grade: ``python -m chapters.assignments.grade --help``.

``generate`` writes the students' notebooks; ``grade`` takes a folder of what came back and writes
``grades.csv`` and a page of feedback for each student. Both run nbgrader on ``source/``.
"""

import argparse
import csv
import os
import re
import shutil
import sys
import warnings
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGraderAPI
from sqlalchemy.exc import SAWarning
from traitlets.config import Config, PyFileConfigLoader

from chapters.assignments import collect, isolation

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SOURCE = HERE / "source"
README = """\
Open a notebook on Colab (File, Upload notebook) or in Jupyter.
Its first cell installs what it needs.
Fill in the cells that say YOUR CODE HERE. Keep the names of the functions.
Run everything from the top. Then put your name into the file's name and hand in that one file:
part-1.ipynb of Anna Bell becomes anna-bell_part-1.ipynb.
"""
OURS = ".written-by-grade"  # in a folder that may be written anew
MARKS = ("BEGIN SOLUTION", "END SOLUTION", "BEGIN HIDDEN TESTS", "END HIDDEN TESTS")


def course(folder: Path, **execute: object) -> NbGraderAPI:
    """An nbgrader course in a folder, with the assignments of ``source/`` generated.

    Raises:
        RuntimeError: nbgrader refuses an assignment; its log is the message.
    """
    for name in names():
        check_marks(name)
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ["PATH"].split(os.pathsep):  # nbgrader calls alembic by its name
        os.environ["PATH"] = beside + os.pathsep + os.environ["PATH"]
    folder.mkdir(exist_ok=True)
    settings = HERE / "nbgrader_config.py"
    (folder / "nbgrader_config.py").write_text(f'load_subconfig("{settings}")\n', encoding="utf8")
    shutil.copytree(SOURCE, folder / "source")
    warnings.filterwarnings("ignore", category=SAWarning)  # of nbgrader's own queries
    config = Config(PyFileConfigLoader("nbgrader_config.py", str(folder)).load_config())
    config.CourseDirectory.root = str(folder)
    config.NbGraderAPI.log_level = "ERROR"
    config.IsolatedExecute.update(execute)
    api = NbGraderAPI(config=config)
    for name in names():
        must(api.generate_assignment(name))
    return api


def names() -> list[str]:
    """The assignments, in order."""
    return sorted(p.name for p in SOURCE.iterdir() if p.is_dir())


def check_marks(name: str) -> None:
    """See that nothing secret of an assignment slips through because of a misspelled mark.

    Raises:
        RuntimeError: a cell's marks are not a pair, or a test cell hides nothing.
    """
    for cell in nbformat.read(SOURCE / name / f"{name}.ipynb", as_version=4).cells:
        own = cell.metadata.get("nbgrader", {})
        marks = re.findall(r"^ *#+ *((?:BEGIN|END)\b.*?) *$", cell.source, re.M | re.I)
        want = (
            list(MARKS[2:]) if own.get("grade") else list(MARKS[:2]) if own.get("solution") else []
        )
        if marks != want:
            raise RuntimeError(
                f"{name}, cell {own.get('grade_id')!r}: expected the marks {want}, found {marks}"
            )


def must(result: dict) -> None:
    """Raise what an nbgrader command says went wrong.

    Raises:
        RuntimeError: it did not succeed.
    """
    if not result["success"]:
        raise RuntimeError(result.get("log", "") + result.get("error", ""))


def released(folder: Path) -> dict[str, NotebookNode]:
    """The students' notebooks of a course, by assignment."""
    paths = {name: folder / "release" / name / f"{name}.ipynb" for name in names()}
    return {name: nbformat.read(path, as_version=4) for name, path in paths.items()}


def clear(out: Path) -> None:
    """An empty folder in the place of what an earlier run wrote; no other folder is emptied.

    Raises:
        RuntimeError: the folder holds something that no such run wrote.
    """
    if out.exists() and any(out.iterdir()) and not (out / OURS).exists():
        raise RuntimeError(f"out: expected a new folder, or one of an earlier run: {out}")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / OURS).touch()


def generate(out: Path) -> Path:
    """Write each assignment's notebook for students, and all of them with a word in one zip.

    Raises:
        RuntimeError: ``out`` holds something else, or an assignment is not as it must be.
    """
    clear(out)
    course(out / "course")
    parcel = out / "assignments.zip"
    with zipfile.ZipFile(parcel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", README)
        for name in names():
            notebook = out / f"{name}.ipynb"
            shutil.copy(out / "course/release" / name / notebook.name, notebook)
            archive.write(notebook, notebook.name)
    shutil.rmtree(out / "course")
    return parcel


STOPPED = re.compile(r"This cell was stopped|\bwas stopped: ")


@dataclass
class Row:
    """One line of ``grades.csv``."""

    student: str
    assignment: str = ""
    score: float = 0
    out_of: float = 0
    tasks: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def take_in(submissions: Path, folder: Path) -> list[Row]:
    """Lay the mended submissions where nbgrader looks for them; a row for each, refused or not."""
    handed_out = released(folder)
    rows: dict[tuple[str, str], Row] = {}
    newest: dict[tuple[str, str], float] = {}
    found = list(collect.files(submissions, handed_out))
    notebooks = {student for student, path in found if path.suffix == ".ipynb"}
    for student, path in found:
        if path.suffix != ".ipynb" and student in notebooks:
            continue  # what lies beside the notebook
        try:
            if path.suffix != ".ipynb":
                raise collect.Refused("not a notebook (.ipynb)")
            nb = collect.load(path)
            name = collect.assignment_of(nb, handed_out, path.name)
        except collect.Refused as e:
            rows[student, str(path)] = Row(student, notes=[f"{path.name} was not graded: {e}"])
            continue
        mended, notes = collect.mend(nb, handed_out[name])
        key, changed = (student, name), path.stat().st_mtime
        row = rows.setdefault(key, Row(student, name))
        if changed < newest.get(key, changed):
            row.notes.append(f"{path.name} is older and was not graded")
            continue
        if key in newest:
            notes.append(f"several files; the newest is graded: {path.name}")
        if student.startswith(collect.NAMELESS):
            notes.append(f"nobody is named in {path.name}")
        newest[key], row.notes = changed, [*row.notes, *notes]
        target = folder / "submitted" / student / name / f"{name}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(mended, target)
    return list(rows.values())


def grade(submissions: Path, out: Path, **execute: object) -> list[Row]:
    """Grade a folder into ``out``: ``grades.csv``, ``feedback/``, and the nbgrader course itself.

    Raises:
        FileNotFoundError: there is no notebook in the folder.
        RuntimeError: students' code cannot be isolated on this machine, or ``out`` is not free.
    """
    if submissions.resolve().is_relative_to(out.resolve()):
        raise RuntimeError(f"submissions: expected a folder outside of {out}: {submissions}")
    if not any(path.suffix == ".ipynb" for _, path in collect.files(submissions, names())):
        raise FileNotFoundError(f"submissions: expected a folder with .ipynb files: {submissions}")
    if execute.get("isolated", True):
        isolation.works()
    clear(out)
    api = course(out, **execute)
    rows = take_in(submissions, out)
    for row in rows:
        if not row.assignment:
            continue
        result = api.autograde(row.assignment, row.student)
        if result["success"]:
            result = api.generate_feedback(row.assignment, row.student)
        graded = out / "autograded" / row.student / row.assignment / f"{row.assignment}.ipynb"
        if graded.exists() and (stopped := len(STOPPED.findall(graded.read_text("utf8")))):
            row.notes.append(f"code was stopped {stopped} times; the feedback says why")
        if not result["success"]:
            if "KeyboardInterrupt" in result["error"]:  # nbgrader catches this too
                raise KeyboardInterrupt
            row.notes.append("nbgrader failed: " + result["error"].strip().splitlines()[-1])
    marks(rows, out)
    write(rows, out / "grades.csv")
    return rows


def marks(rows: list[Row], out: Path) -> None:
    """Fill in what the gradebook says, by task: a task's cells are named ``task_criterion``."""
    with Gradebook(f"sqlite:///{out / 'gradebook.db'}") as book:
        for row in rows:
            if not row.assignment:
                continue
            try:
                graded = book.find_submission(row.assignment, row.student).notebooks[0]
            except MissingEntry:
                row.notes.append("nbgrader knows nothing of it")
                continue
            row.score, row.out_of = graded.score, graded.max_score
            order = {c.name: k for k, c in enumerate(graded.notebook.source_cells)}
            tasks: dict[str, float] = {}
            for cell in sorted(graded.grades, key=lambda g: order[g.name]):
                task = cell.name.partition("_")[0]
                tasks[task] = tasks.get(task, 0) + cell.score
            row.tasks = list(tasks.values())


def write(rows: list[Row], path: Path) -> None:
    """The table, one line a submission; a cell that a spreadsheet would run is made text."""

    def safe(text: str) -> str:
        return "'" + text if text[:1] in {"=", "+", "-", "@"} else text

    width = max((len(r.tasks) for r in rows), default=0)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.writer(file)
        tasks = [f"task {k + 1}" for k in range(width)]
        table.writerow(["student", "assignment", "score", "out of", *tasks, "notes"])
        for row in sorted(rows, key=lambda r: (not r.assignment, r.assignment, r.student)):
            scores = [f"{s:g}" for s in row.tasks] + [""] * (width - len(row.tasks))
            line = [safe(row.student), row.assignment, f"{row.score:g}", f"{row.out_of:g}"]
            table.writerow([*line, *scores, safe("; ".join(row.notes))])


def export(out: Path) -> Path:
    """Write ``grades.csv`` again from the gradebook, in which marks may have been changed."""
    path = out / "grades.csv"
    with path.open(encoding="utf-8-sig") as file:
        rows = [
            Row(line["student"], line["assignment"], notes=[line["notes"]] if line["notes"] else [])
            for line in csv.DictReader(file)
        ]
    marks(rows, out)
    write(rows, path)
    return path


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="grade", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("generate", help="write the students' notebooks and a zip")
    make.add_argument("--out", type=Path, default=ROOT / "_build/assignments")
    mark = commands.add_parser("grade", help="grade a folder of submissions")
    mark.add_argument("submissions", type=Path)
    mark.add_argument("--out", type=Path, default=ROOT / "_build/grades")
    mark.add_argument("--seconds", type=float, default=10, help="for a cell or a call (10)")
    mark.add_argument(
        "--not-isolated", action="store_true", help="run students' code without a sandbox"
    )
    again = commands.add_parser("export", help="write grades.csv again from the gradebook")
    again.add_argument("--out", type=Path, default=ROOT / "_build/grades")
    args = parser.parse_args(argv)
    try:
        if args.command == "generate":
            print(generate(args.out))
            return 0
        if args.command == "export":
            print(export(args.out))
            return 0
        rows = grade(
            args.submissions, args.out, seconds=args.seconds, isolated=not args.not_isolated
        )
    except (FileNotFoundError, RuntimeError) as e:
        print(e, file=sys.stderr)
        return 1
    for row in rows:
        print(f"{row.student}: {row.assignment} {row.score:g}/{row.out_of:g}", *row.notes, sep="; ")
    print(args.out / "grades.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The whole way, from the command line: hand out, twelve files come back, marks and feedback."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile

import nbformat
import pytest

from chapters.assignments import grade
from tests.classroom import answers
from tests.classroom.answers import PARTS, mark

LOOP = "while True:\n    pass\n"
BOMB = "import os\n{definition}\n    while True:\n        os.fork()\n"
GIGABYTE = "for _ in range(1000):\n    print('x' * 10**6)\n"
EXIT = "import os\nos._exit(0)\n"
SPY = f"""import os
walk = os.walk({str(answers.SOURCE.parents[2])!r})
print("found", [f for _, _, files in walk for f in files if f.startswith("part-")])
"""
PATCH = """from kltools import tasks
tasks.answer = tasks.refuses = print
{definition}
    return 0
"""


def command(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """What `make assignments` and `make grade` run."""
    return subprocess.run(
        [sys.executable, "-m", "chapters.assignments.grade", *map(str, words)],
        cwd=answers.SOURCE.parents[2], capture_output=True, text=True, timeout=300,
        env=os.environ | environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    out = tmp_path_factory.mktemp("course") / "handed out"
    made = command("generate", "--out", out)
    assert made.returncode == 0, made.stderr
    return out


def handed_in(nb, k: int, code) -> nbformat.NotebookNode:
    """A solved notebook in which one answer is replaced by mischief."""
    cells = [c for c in nb.cells if mark(c).solution]
    name = re.search(r"^def (\w+)", cells[k].source, re.M)[1]
    cells[k].source = code.replace("{definition}", f"def {name}(*args):")
    return nb


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    """Twelve files as a learning platform delivers them; with what each ought to earn, by task."""
    folder = tmp_path_factory.mktemp("in") / "submissions"
    one, two, three, four = PARTS
    wrong = next(a for a in answers.answers(three) if not a.right and a.keeps == 0)
    colab = answers.solved(four)
    colab.metadata = {"colab": {"provenance": []}}
    for k, cell in enumerate(colab.cells):
        cell.pop("id")
        cell.metadata |= {"id": f"c{k}", "colab": {"base_uri": "https://localhost:8080/"}}
    bare = answers.solved(one)
    for cell in bare.cells:
        cell.metadata = {}
    cut = answers.solved(two)
    cut.cells = [c for c in cut.cells if not mark(c).grade]
    made = {
        "anna": ("anna/part-1", answers.solved(one), [4] * 5),
        "blank": ("blank_part-2", answers.stub(two), [0] * 5),
        "wrong": (
            "wrong part-3 (1)",
            answers.solved(three, wrong),
            [0 if t == wrong.task else 4 for t in answers.tasks(three)],
        ),
        "colab": ("colab/Copy of part-4", colab, [4] * 5),
        "bare": ("bare", bare, [4] * 5),
        "untested": ("untested", cut, [4] * 5),
        "loop": ("loop", handed_in(answers.solved(one), 1, LOOP), [4, 0, 4, 4, 4]),
        "bomb": ("bomb", handed_in(answers.solved(two), 0, BOMB), [0, 4, 4, 4, 4]),
        "gigabyte": ("gigabyte", handed_in(answers.solved(three), 2, GIGABYTE), [4, 4, 0, 4, 4]),
        "exit": ("exit", handed_in(answers.solved(four), 3, EXIT), [4, 4, 4, 0, 4]),
        "spy": ("spy", handed_in(answers.solved(one), 4, SPY), [4, 4, 4, 4, 0]),
        "patch": ("patch", handed_in(answers.solved(two), 1, PATCH), [4, 0, 4, 4, 4]),
    }
    for name, nb, _ in made.values():
        path = folder / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(nb), encoding="utf8")
    return folder, {student: marks for student, (_, _, marks) in made.items()}


@pytest.fixture(scope="module")
def marked(twelve, tmp_path_factory, sandboxed):
    out = tmp_path_factory.mktemp("out") / "grades"
    started = time.monotonic()
    done = command(
        "grade", twelve[0], "--out", out, "--seconds", "5", http_proxy="http://192.0.2.1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 180
    with (out / "grades.csv").open(encoding="utf-8-sig") as file:
        return out, list(csv.DictReader(file)), done.stdout


def test_what_is_handed_out(handed_out):
    with zipfile.ZipFile(handed_out / "assignments.zip") as archive:
        assert archive.namelist() == ["README.txt", *(f"{part}.ipynb" for part in PARTS)]
        for part in PARTS:
            assert archive.read(f"{part}.ipynb") == (handed_out / f"{part}.ipynb").read_bytes()
    written = {p.name for p in handed_out.iterdir() if not p.name.startswith(".")}
    assert written == set(archive.namelist()[1:]) | {"assignments.zip"}
    for part in PARTS:
        nb = nbformat.read(handed_out / f"{part}.ipynb", as_version=4)
        assert [c.source for c in nb.cells] == [c.source for c in answers.stub(part).cells]
        assert all(mark(c).locked for c in nb.cells if mark(c).grade)


def test_each_file_earns_what_it_is_worth(marked, twelve):
    _, rows, _ = marked
    assert {r["student"] for r in rows} == set(twelve[1])
    for row in rows:
        want = twelve[1][row["student"]]
        assert [int(row[f"task {k + 1}"]) for k in range(5)] == want, row
        assert (float(row["score"]), row["out of"]) == (sum(twelve[1][row["student"]]), "20"), row


def test_what_was_mended_is_said(marked):
    _, rows, printed = marked
    notes = {r["student"]: r["notes"] for r in rows}
    assert notes["anna"] == notes["colab"] == notes["wrong"] == ""
    assert notes["bare"] == "cell metadata was lost and is restored"
    assert notes["untested"].startswith("test cells missing, restored: ")
    assert "code was stopped" in notes["loop"] and "code was stopped" in notes["exit"]
    assert "anna: part-1 20/20" in printed


def test_each_student_has_a_page_that_explains(marked, twelve):
    out, rows, _ = marked
    for row in rows:
        page = out / "feedback" / row["student"] / row["assignment"] / f"{row['assignment']}.html"
        text = page.read_text(encoding="utf8")
        assert f"(Score: {float(row['score'])} / 20.0)" in text
        assert "HIDDEN" not in text
        assert f"<strong>{row['student']}</strong>: {row['score']} of 20 points" in text
        assert not re.search(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=", text), page
    says = {
        "blank": "is not written yet", "loop": "was stopped: no answer within 5 seconds",
        "exit": "was stopped: the process ended", "spy": "found []",
        "gigabyte": "the rest of the output was dropped",
    }  # fmt: skip
    for student, words in says.items():
        page = next((out / "feedback" / student).rglob("*.html"))
        assert words in page.read_text(encoding="utf8"), student
        assert page.stat().st_size < 2_000_000, student


def test_nbgrader_itself_goes_on_from_there(marked):
    """The folder is an nbgrader course: its own command grades again, in the sandbox."""
    out, _, _ = marked
    again = subprocess.run(
        [sys.executable, "-m", "nbgrader", "autograde", PARTS[0], "--student", "anna", "--force"],
        cwd=out, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    nb = nbformat.read(out / f"autograded/anna/{PARTS[0]}/{PARTS[0]}.ipynb", as_version=4)
    outputs = [c.outputs for c in nb.cells if mark(c).grade]
    assert all(o[0].text.startswith("✓") for o in outputs)


def test_the_folder_copied_is_an_nbgrader_course(tmp_path, sandboxed):
    """As the page says for JupyterHub: nbgrader's own commands, with the sandbox in them."""
    folder = tmp_path / "course"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(answers.SOURCE.parent, folder, ignore=ignore)
    nb = handed_in(answers.solved(PARTS[0]), 1, SPY)
    target = folder / f"submitted/anna/{PARTS[0]}/{PARTS[0]}.ipynb"
    target.parent.mkdir(parents=True)
    nbformat.write(nb, target)
    for words in (["generate_assignment"], ["autograde"], ["generate_feedback", "--force"]):
        done = subprocess.run(
            [sys.executable, "-m", "nbgrader", words[0], PARTS[0], *words[1:]],
            cwd=folder, capture_output=True, text=True, timeout=120,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            | {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    page = folder / f"feedback/anna/{PARTS[0]}/{PARTS[0]}.html"
    text = page.read_text(encoding="utf8")
    assert "<strong>anna</strong>: 16 of 20 points" in text and "found []" in text


@pytest.mark.parametrize(
    "old, new",
    [
        ("### BEGIN HIDDEN TESTS", "### BEGIN HIDDEN TEST"),
        ("### END HIDDEN TESTS\n", ""),
        ("### BEGIN SOLUTION", "### Begin solution"),
    ],
)
def test_a_misspelled_mark_gives_nothing_away(tmp_path, monkeypatch, old, new):
    nb = answers.source(PARTS[0])
    cell = next(c for c in nb.cells if old in c.source)
    cell.source = cell.source.replace(old, new)
    (tmp_path / "source/part-1").mkdir(parents=True)
    nbformat.write(nb, tmp_path / "source/part-1/part-1.ipynb")
    monkeypatch.setattr(grade, "SOURCE", tmp_path / "source")
    with pytest.raises(RuntimeError, match=f"cell '{mark(cell).grade_id}': expected the marks"):
        grade.generate(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("release"))


def test_a_mark_that_was_overruled_is_exported(marked):
    out, before, _ = marked
    with grade.Gradebook(f"sqlite:///{out / 'gradebook.db'}") as book:
        sheet = book.find_submission(PARTS[0], "loop").notebooks[0]
        lost = next(g for g in sheet.grades if g.score < g.max_score)
        lost.manual_score = 1
        book.db.commit()
    assert command("export", "--out", out).returncode == 0
    with (out / "grades.csv").open(encoding="utf-8-sig") as file:
        after = {r["student"]: r for r in csv.DictReader(file)}
    assert float(after["loop"]["score"]) == 17
    assert [r for r in before if r["student"] != "loop"] == [
        r for r in after.values() if r["student"] != "loop"
    ]


def test_a_second_file_and_what_is_no_notebook(tmp_path):
    folder = tmp_path / "in"
    (folder / "anna").mkdir(parents=True)
    nbformat.write(answers.stub(PARTS[0]), folder / "anna/part-1.ipynb")
    os.utime(folder / "anna/part-1.ipynb", (1, 1))
    nbformat.write(answers.solved(PARTS[0]), folder / "anna/part-1 (1).ipynb")
    (folder / "anna/picture.png").write_text("beside a notebook it is nobody's answer")
    (folder / "bob.ipynb").write_text("{")
    (folder / "carl.pdf").write_text("%PDF")
    rows = {r.student: r for r in grade.grade(folder, tmp_path / "out", isolated=False)}
    assert rows["anna"].score == 20
    assert rows["anna"].notes == ["several files; the newest is graded: part-1 (1).ipynb"] or rows[
        "anna"
    ].notes == ["part-1.ipynb is older and was not graded"]
    assert rows["carl"].notes == ["carl.pdf was not graded: not a notebook (.ipynb)"]
    assert (rows["bob"].score, rows["bob"].assignment) == (0, "")
    assert rows["bob"].notes == ["bob.ipynb was not graded: not a Jupyter notebook, or damaged"]


def test_a_name_that_a_spreadsheet_would_run_is_text(tmp_path):
    rows = [grade.Row("=cmd|' /C calc'!A0", notes=["@x"]), grade.Row("anna", "part-1", 3, 20)]
    grade.write(rows, tmp_path / "grades.csv")
    text = (tmp_path / "grades.csv").read_text(encoding="utf-8-sig")
    assert "'=cmd" in text and "'@x" in text and "anna,part-1,3,20" in text


@pytest.mark.parametrize("words", [("generate",), ("grade", "{in}")])
def test_no_folder_of_anything_else_is_emptied(tmp_path, words):
    (tmp_path / "in").mkdir()
    nbformat.write(answers.stub(PARTS[0]), tmp_path / "in/anna.ipynb")
    words = [word.replace("{in}", str(tmp_path / "in")) for word in words]
    for out in (tmp_path / "in", tmp_path):
        done = command(*words, "--out", out)
        assert done.returncode == 1 and re.search("expected a (new )?folder", done.stderr)
    assert (tmp_path / "in/anna.ipynb").exists()
    for _ in range(2):  # its own it empties
        grade.clear(tmp_path / "new")
        assert [p.name for p in (tmp_path / "new").iterdir()] == [grade.OURS]
        (tmp_path / "new/grades.csv").touch()


def test_errors_name_what_is_wrong(tmp_path):
    nothing = command("grade", tmp_path)
    assert nothing.returncode == 1 and "expected a folder with .ipynb files" in nothing.stderr
    nbformat.write(answers.stub(PARTS[0]), tmp_path / "x.ipynb")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    bare = command("grade", tmp_path, "--out", tmp_path / "out", PATH=str(bin_folder))
    assert bare.returncode == 1 and "install bubblewrap" in bare.stderr
    assert not (tmp_path / "out").exists()
    shutil.rmtree(bin_folder)

"""Every task of every assignment: what it must look like, and what each answer to it earns."""

import ast
import itertools
import re
from functools import cache

import nbformat
import pytest
from nbgrader.utils import determine_grade

from chapters.assignments.execute import execute
from chapters.assignments.isolation import Limits, Submission
from tests.classroom import answers
from tests.classroom.answers import PARTS, Answer, mark

EVERY = [a for part in PARTS for a in answers.answers(part)]


pytestmark = pytest.mark.usefixtures("sandboxed")


def graded(part: str, nb: nbformat.NotebookNode) -> tuple[dict[str, float], dict[str, str]]:
    """Marks and messages by task, as nbgrader gives them for the outputs of a sandboxed run."""
    with Submission(Limits(seconds=60)) as submission:
        execute(nb, answers.course(part), submission)
    marks, messages = (
        dict.fromkeys(answers.tasks(part), 0.0),
        dict.fromkeys(answers.tasks(part), ""),
    )
    for cell in nb.cells:
        if mark(cell).grade:
            task = mark(cell).grade_id.partition("_")[0]
            marks[task] += determine_grade(cell)[0]
            messages[task] += "".join(
                o.evalue for o in cell.outputs if o.output_type == "error"
            )  # fmt: skip
    return marks, messages


@pytest.mark.parametrize("part", PARTS)
def test_the_instructor_has_full_marks_and_a_blank_none(part):
    full, messages = graded(part, answers.solved(part))
    assert full == dict.fromkeys(answers.tasks(part), 4), messages
    none, messages = graded(part, answers.stub(part))
    assert none == dict.fromkeys(answers.tasks(part), 0)
    assert all("is not written yet" in m for m in messages.values()), messages


def submissions() -> list[tuple[Answer | None, ...]]:
    """All answers, five to a submission: the k-th answer of each task; a task may have fewer."""
    out = []
    for part in PARTS:
        columns = [[a for a in EVERY if (a.part, a.task) == (part, t)] for t in answers.tasks(part)]
        out += [tuple(filter(None, row)) for row in itertools.zip_longest(*columns)]
    return out


@pytest.mark.parametrize(
    "handed_in", submissions(), ids=lambda row: f"{row[0].part}: {', '.join(a.name for a in row)}"
)
def test_an_answer_earns_what_it_is_worth_and_touches_no_other_task(handed_in):
    """Five answers at once: were one to touch another task, that one's marks would be others."""
    part = handed_in[0].part
    marks, messages = graded(part, answers.solved(part, *handed_in))
    want = dict.fromkeys(answers.tasks(part), 4) | {a.task: a.keeps for a in handed_in}
    assert marks == want, messages
    for answer in handed_in:
        assert answer.says in messages[answer.task], (answer.name, messages[answer.task])


def test_every_answer_is_handed_in_once():
    assert sorted(a.code for row in submissions() for a in row) == sorted(a.code for a in EVERY)


@pytest.mark.parametrize("part", PARTS)
def test_there_are_enough_answers_of_each_kind(part):
    for task in answers.tasks(part):
        mine = [a for a in EVERY if (a.part, a.task) == (part, task)]
        assert sum(a.right for a in mine) >= 2, task
        lost = [a for a in mine if not a.right and a.keeps == 0]
        assert len(lost) >= 3 and all(a.says for a in mine if not a.right), task
        assert len({a.says for a in lost}) >= 3, f"{task}: the messages do not tell mistakes apart"
        assert any(0 < a.keeps < 4 for a in mine), f"{task}: no answer that is half right"
    assert {a.task for a in EVERY if a.part == part} == set(answers.tasks(part))


@pytest.mark.parametrize("part", PARTS)
def test_styles_differ(part):
    """Of each task's right answers, the instructor's included: one loops, one uses arrays."""
    for task in answers.tasks(part):
        right = [a.code for a in EVERY if (a.part, a.task, a.right) == (part, task, True)]
        right += [c.source for c in answers.source(part).cells if mark(c).grade_id == task]
        loops = [any(isinstance(n, ast.For) for n in ast.walk(ast.parse(code))) for code in right]
        assert any(loops), task
        assert any(re.search(r"\b(np|torch|numpy)\.", code) for code in right), task
        assert len({re.sub(r"\s", "", code) for code in right}) == len(right), task


@pytest.mark.parametrize("part", PARTS)
def test_the_shape_of_an_assignment(part):
    nb = answers.source(part)
    ids = [mark(c).grade_id for c in nb.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+(_[a-z0-9-]+)?", name) for name in ids), ids
    tasks = answers.tasks(part)
    assert 4 <= len(tasks) <= 6
    for task in tasks:
        tests = [c for c in nb.cells if mark(c).grade and mark(c).grade_id.startswith(task + "_")]
        assert len(tests) >= 2 and sum(mark(c).points for c in tests) == 4, task
        for cell in tests:
            seen, hidden, rest = re.split(r"### (?:BEGIN|END) HIDDEN TESTS\n", cell.source)
            assert seen.strip() and hidden.strip() and rest.lstrip().startswith('print("✓'), task
        (solution,) = (c for c in nb.cells if mark(c).grade_id == task)
        assert solution.source.count("### BEGIN SOLUTION") == 1
        (text,) = (c for c in nb.cells if mark(c).grade_id == task + "-text")
        assert re.match(rf"## Task {tasks.index(task) + 1} · .+ \(4 points\)\n", text.source)
    for cell in nb.cells:
        assert cell.cell_type == "markdown" or not cell.outputs, "outputs are not committed here"
        if not mark(cell).solution:
            assert mark(cell).locked or cell.cell_type == "markdown"


@pytest.mark.parametrize("part", PARTS)
def test_the_notebook_for_students_gives_nothing_away(part):
    handed = [c.source for c in answers.stub(part).cells]
    assert not any("SOLUTION" in text or "HIDDEN" in text for text in handed)
    secret = re.compile(r" *### BEGIN (SOLUTION|HIDDEN TESTS)\n(.*?)### END \1\n?", re.S)
    sources = [c.source for c in answers.source(part).cells]
    assert sum(len(secret.findall(text)) for text in sources) == 5 + sum(
        bool(mark(c).grade) for c in answers.source(part).cells
    )
    for text, whole in zip(handed, sources, strict=True):
        rest = secret.sub("", whole)
        stub = "    # YOUR CODE HERE\n    raise NotImplementedError()"
        assert text.replace(stub, "").split() == rest.split()


@cache
def sections(chapter: str) -> set[str]:
    nb = nbformat.read(f"{answers.SOURCE.parents[1]}/{chapter}.ipynb", as_version=4)
    text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    return {t.strip() for t in re.findall(r"^##+ (.+)$", text, re.M)}


@pytest.mark.parametrize("part", PARTS)
def test_what_to_read_exists(part):
    text = "\n".join(c.source for c in answers.source(part).cells if c.cell_type == "code")
    found = re.findall(r"'([^\n]+?)' \(([a-z-]+/[a-z-]+)\)", text)
    assert len(found) >= len(answers.tasks(part))
    for section, chapter in found:
        assert section in sections(chapter), (section, chapter)


def test_the_set_up_cell_is_one_and_leaves_torch_alone():
    cells = {
        c.source
        for part in PARTS
        for c in answers.source(part).cells
        if mark(c).grade_id == "setup"
    }
    assert len(cells) == 1
    chapter = nbformat.read(
        answers.SOURCE.parents[1] / "divergence/two-directions.ipynb", as_version=4
    )
    (own,) = (c.source for c in chapter.cells if "setup" in c.metadata.get("tags", []))
    install = own.split("\n\n")[:2]
    assert cells.pop().split("\n\n")[:2] == install, "the lines that install are the chapters' own"

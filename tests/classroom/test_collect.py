"""What comes back is seldom what went out: whose it is, which assignment, and what is mended."""

import json
import os

import nbformat
import pytest

from chapters.assignments import collect
from chapters.assignments.collect import Refused, assignment_of, files, load, mend
from tests.classroom import answers

PART = answers.PARTS[0]
TASKS = answers.tasks(PART)
RELEASED = {part: answers.stub(part) for part in answers.PARTS}


def handed_in(tmp_path, change=None):
    """The solved notebook after a change, through a file as everything comes."""
    nb = answers.solved(PART)
    if change:
        change(nb)
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(nb), encoding="utf8")
    return load(path)


def by_name(nb, name):
    return next(c for c in nb.cells if collect.name_of(c) == name)


def sources(nb):
    return {collect.name_of(c): c.source for c in nb.cells if collect.name_of(c)}


def solutions():
    return {t: by_name(answers.solved(PART), t).source for t in TASKS}


def check(nb, **instead):
    """Every cell of the course is there once, in order, and the answers are the student's."""
    mended, notes = mend(nb, RELEASED[PART])
    names = [collect.name_of(c) for c in mended.cells if collect.name_of(c)]
    assert names == [collect.name_of(c) for c in RELEASED[PART].cells]
    got = sources(mended)
    assert {t: got[t] for t in TASKS} == solutions() | instead
    for cell in RELEASED[PART].cells:
        if not collect.answers(cell):
            assert got[collect.name_of(cell)] == cell.source
    nbformat.validate(mended)
    return mended, notes


def test_what_comes_back_unchanged_needs_no_mending(tmp_path):
    mended, notes = check(handed_in(tmp_path))
    assert notes == [] and len(mended.cells) == len(RELEASED[PART].cells)


def test_lost_metadata(tmp_path):
    def lose(nb):
        for cell in nb.cells:
            cell.metadata = {}

    mended, notes = check(handed_in(tmp_path, lose))
    assert notes == ["cell metadata was lost and is restored"]
    seen = {c.source for c in RELEASED[PART].cells}
    tests = [c for c in mended.cells if not collect.name_of(c) and c.source in seen]
    assert tests == [], "a cell of the course came back twice"


def test_as_colab_saves_it(tmp_path):
    def save(nb):
        nb.nbformat_minor = 0
        nb.metadata = {"colab": {"provenance": []}, "kernelspec": {"name": "python3"}}
        for k, cell in enumerate(nb.cells):
            cell.pop("id")
            cell.metadata |= {"id": f"x{k}", "colab": {"base_uri": "https://localhost:8080/"}}
            cell.source = cell.source.splitlines(keepends=True)

    assert check(handed_in(tmp_path, save))[1] == []


def test_tests_that_were_deleted_edited_or_moved_come_back(tmp_path):
    def tamper(nb):
        tests = [c for c in nb.cells if answers.mark(c).grade]
        tests[0].source = "print('✓')"
        nb.cells.remove(tests[1])
        nb.cells.remove(tests[2])
        nb.cells.insert(0, tests[2])

    _, notes = check(handed_in(tmp_path, tamper))
    tests = [collect.name_of(c) for c in RELEASED[PART].cells if answers.mark(c).grade]
    assert notes == [
        f"test cells missing, restored: {tests[1]}",
        f"test cells edited, restored: {tests[0]}",
    ]


def test_of_two_cells_that_define_it_the_last_counts(tmp_path):
    first = by_name(answers.solved(PART), TASKS[0]).source
    second = first + "\n# the second try"

    def twice(nb):
        k = nb.cells.index(by_name(nb, TASKS[0]))
        again = nbformat.from_dict(nb.cells[k])
        again.source = second
        nb.cells.insert(k + 3, again)

    mended, notes = check(handed_in(tmp_path, twice), **{TASKS[0]: second})
    assert notes == [f"{TASKS[0]}: 2 cells define it; the last one is graded"]
    assert first in [c.source for c in mended.cells], "the first try stays where helpers may be"


def test_an_answer_in_a_new_cell_beside_the_untouched_one(tmp_path):
    solution = by_name(answers.solved(PART), TASKS[1]).source

    def beside(nb):
        cell = by_name(nb, TASKS[1])
        cell.source = by_name(RELEASED[PART], TASKS[1]).source
        nb.cells.insert(nb.cells.index(cell), nbformat.v4.new_code_cell(solution))

    mended, notes = check(handed_in(tmp_path, beside))
    assert notes == [f"{TASKS[1]}: found in another cell"]
    stub = by_name(RELEASED[PART], TASKS[1]).source
    assert stub not in [c.source for c in mended.cells], "it would undo the answer"


def test_a_missing_answer_is_said_and_costs_no_other(tmp_path):
    _, notes = check(
        handed_in(tmp_path, lambda nb: nb.cells.remove(by_name(nb, TASKS[2]))),
        **{TASKS[2]: by_name(RELEASED[PART], TASKS[2]).source},
    )
    assert notes == [f"{TASKS[2]}: no answer found"]


def test_helpers_stay_where_they_were(tmp_path):
    def add(nb):
        nb.cells.insert(0, nbformat.v4.new_code_cell("import math"))
        k = nb.cells.index(by_name(nb, TASKS[1]))
        nb.cells.insert(k, nbformat.v4.new_code_cell("def helper(): ..."))
        nb.cells.append(nbformat.v4.new_code_cell("   "))

    mended, notes = check(handed_in(tmp_path, add))
    at = [c.source for c in mended.cells]
    assert notes == [] and at[0] == "import math" and len(at) == len(RELEASED[PART].cells) + 2
    assert at.index("def helper(): ...") + 1 == at.index(solutions()[TASKS[1]])


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "```\n<script>x</script>", "[x](javascript:alert(1))"]
)
def test_text_of_the_student_is_shown_and_not_obeyed(tmp_path, text):
    nb = handed_in(tmp_path, lambda nb: nb.cells.append(nbformat.v4.new_markdown_cell(text)))
    mended, _ = check(nb)
    last = mended.cells[-1].source
    fence = last.split("text\n")[0]
    assert last == f"{fence}text\n{text}\n{fence}" and set(fence) == {"`"}
    assert fence not in text


def test_broken_code_and_magics_are_no_obstacle(tmp_path):
    broken = "def {}(x:\n    return 1"
    names = [collect.defined(by_name(RELEASED[PART], t).source).pop() for t in TASKS]
    source = "%%time\n" + broken.format(names[0])

    def spoil(nb):
        cell = by_name(nb, TASKS[0])
        cell.source, cell.metadata = source, {}

    _, notes = check(handed_in(tmp_path, spoil), **{TASKS[0]: source})
    assert notes == []


@pytest.mark.parametrize("part", answers.PARTS)
def test_the_assignment_is_recognized(part, tmp_path):
    nb = answers.solved(part)
    path = tmp_path / "any name.ipynb"
    nbformat.write(nb, path)
    assert assignment_of(load(path), RELEASED) == part
    for cell in nb.cells:
        cell.metadata = {}
    nbformat.write(nb, path)
    assert assignment_of(load(path), RELEASED) == part
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), path)
    with pytest.raises(Refused, match="no cell of any assignment"):
        assignment_of(load(path), RELEASED)


@pytest.mark.parametrize(
    "text",
    ["", "not json", "[]", '{"cells": 5}', '{"cells": [5]}', "{" * 10**5, "\x00", '{"a": 1}',
     '{"cells": [{"cell_type": "code", "source": 5}]}'],
)  # fmt: skip
def test_what_is_no_notebook_is_refused(tmp_path, text):
    path = tmp_path / "x.ipynb"
    path.write_text(text)
    with pytest.raises(Refused, match="not a Jupyter notebook, or damaged"):
        load(path)


def test_links_and_giants_are_refused(tmp_path, monkeypatch):
    real = tmp_path / "real.ipynb"
    nbformat.write(answers.solved(PART), real)
    (tmp_path / "link.ipynb").symlink_to(real)
    with pytest.raises(Refused, match="not a plain file"):
        load(tmp_path / "link.ipynb")
    monkeypatch.setattr(collect, "LARGEST", 1000)
    with pytest.raises(Refused, match="larger than"):
        load(real)


def test_an_assignment_made_of_another_ones_tasks_is_told_by_its_file(tmp_path):
    """A teacher's quiz of one task of part 1: the name decides, or else what is more alike."""
    quiz = nbformat.v4.new_notebook(cells=RELEASED[PART].cells[:5])
    released = {**RELEASED, "quiz": quiz}
    path = tmp_path / "x.ipynb"
    nbformat.write(quiz, path)
    assert assignment_of(load(path), released, "anna_quiz.ipynb") == "quiz"
    assert assignment_of(load(path), released, "anna.ipynb") == "quiz"
    nbformat.write(answers.solved(PART), path)
    assert assignment_of(load(path), released, "Part 1 anna.ipynb") == PART
    assert assignment_of(load(path), released, "anna.ipynb") in {PART, "quiz"}


NAMES = {
    "anna/part-1.ipynb": "anna",
    "anna/part-2 (1).ipynb": "anna",
    "bob.ipynb": "bob",
    "carl_part-1.ipynb": "carl",
    "dora part-1 (2).ipynb": "dora",
    "Part-1_emil.ipynb": "emil",
    "Part 1 fay.ipynb": "fay",
    "Ève Ünal/deep/part-2.ipynb": "Ève_Ünal",
    "gus/my answers.ipynb": "gus",
    "week1/hal.ipynb": "week1_hal",
    "week1/ida_part-1.ipynb": "week1_ida",
    "part-1/jon.ipynb": "jon",
    "part-1/kim/part-1.ipynb": "kim",
    "colab/Copy of part-4.ipynb": "colab",
    "part-1.ipynb": "no-name_part-1",
    "part-1 (1).ipynb": "no-name_part-1_1",
    "=cmd.ipynb": "cmd",
    "..dots.ipynb": None,
    "__MACOSX/y.ipynb": None,
    "lea/.ipynb_checkpoints/part-1.ipynb": None,
    "notes.pdf": "notes",
}


def test_whose_it_is(tmp_path):
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = {str(path.relative_to(tmp_path)): who for who, path in files(tmp_path, answers.PARTS)}
    assert found == {name: who for name, who in NAMES.items() if who}
    assert all(os.sep not in who and who.strip(".") for who in found.values())

"""The page for teachers says what is so: commands, limits, syllabi, and where no solution is."""

import html
import re

import claims
import pytest
import yaml

from chapters.assignments import collect, runner
from chapters.assignments.isolation import Limits
from tests.classroom import answers

ROOT = answers.SOURCE.parents[2]
PAGE = (answers.SOURCE.parent / "teaching.md").read_text(encoding="utf8")
SITE = ROOT / "_build/html"


def needed(part: str) -> set[str]:
    """The chapters that the tests of an assignment send a student to."""
    code = "\n".join(c.source for c in answers.source(part).cells if c.cell_type == "code")
    return set(re.findall(r"' \(([a-z]+/[a-z-]+)\)", code))


def syllabi() -> list[list[tuple[set[str], list[str]]]]:
    """Of each syllabus, week by week: the chapters to read and the assignments to hand in."""
    out = []
    for section in re.split(r"^## A syllabus of ", PAGE, flags=re.M)[1:]:
        weeks = re.split(r"^Week \d+\n", section, flags=re.M)[1:]
        out.append([
            (set(re.findall(r"\]\(\.\./([\w/-]+)\.ipynb\)", week)),
             [f"part-{n}" for n in re.findall(r"\*Hand in:\* assignment Part (\d)", week)])
            for week in weeks
        ])  # fmt: skip
    return out


def test_each_syllabus_asks_only_for_what_was_read():
    four, twelve = syllabi()
    assert (len(four), len(twelve)) == (4, 12)
    for weeks in (four, twelve):
        assert [a for _, due in weeks for a in due] == answers.PARTS
        for part in answers.PARTS:
            k = next(k for k, (_, due) in enumerate(weeks) if part in due)
            read = set().union(*(chapters for chapters, _ in weeks[: k + 1]))
            assert needed(part) <= read, (part, needed(part) - read)


def test_the_long_syllabus_reads_every_chapter_once_and_in_order():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    book = [
        c["file"].removeprefix("chapters/")
        for p in toc["parts"] if "·" in p["caption"] for c in p["chapters"]
    ]  # fmt: skip
    assert (
        re.findall(r"\]\(\.\./([\w/-]+)\.ipynb\)", PAGE.split("## A syllabus of twelve")[1]) == book
    )


def test_the_limits_are_those_of_the_sandbox():
    for words in (
        f"stopped after {Limits.seconds} seconds, {Limits.total // 60} minutes for the whole",
        f"at most {Limits.processes} processes",
        f"the first {runner.SHOWN:,} characters of each cell",
        f"{Limits.memory // 2**30} GiB of memory and {2 * Limits.files // 2**20} MiB of files",
    ):
        assert words in PAGE, words
    assert collect.LARGEST >= 10**7


def test_the_page_counts_right():
    assert len(answers.PARTS) == 4 and "Each assignment has five tasks of four points" in PAGE
    assert {len(answers.tasks(part)) for part in answers.PARTS} == {5}


def test_every_command_and_path_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    for target in set(
        re.findall(r"make (\w+)", "\n".join(re.findall(r"`.*?`|^make .*", PAGE, re.M)))
    ):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for path in re.findall(r"`((?:chapters|tests)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("part", answers.PARTS)
def test_the_published_book_holds_no_solution_and_no_hidden_test(part):
    pages = [p for p in SITE.rglob("*") if p.suffix in {".html", ".js", ".json", ".txt"}]
    assert len(pages) > 25, "no built book: run `make book`"
    secret = "\n".join(
        text
        for cell in answers.source(part).cells
        for text in re.findall(
            r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END", cell.source, re.S
        )
    )
    lines = {re.sub(r"\s", "", line) for line in secret.splitlines()}
    lines = {line for line in lines if len(line) > 45}
    assert len(lines) > 20
    chapters = "".join(
        re.sub(r"\s", "", cell["source"])
        for path in claims.notebooks(ROOT) for cell in claims.load(path)
    )  # fmt: skip
    lines = {line for line in lines if line not in chapters}  # what a chapter itself says
    for page in pages:
        text = re.sub(r"<[^>]+>|\s", "", html.unescape(page.read_text(encoding="utf8")))
        found = [line for line in lines if line in text]
        assert not found, (page, found[:2])

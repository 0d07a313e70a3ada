"""Takes in what students hand in: finds whose it is and which assignment, and mends the notebook.

Colab, other editors and students move, copy, lose and edit cells. What counts is the code of the
answers; everything that belongs to the course is put back from the version that was handed out.
"""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

LARGEST = 20_000_000  # bytes of a notebook
NAMELESS = "no-name"  # so begins the student of a file that names nobody


class Refused(Exception):
    """A file that cannot be graded; the message says why."""


def load(path: Path) -> NotebookNode:
    """The notebook in a file.

    Raises:
        Refused: it is a link, too large, no notebook, or damaged.
    """
    if path.is_symlink() or not path.is_file():
        raise Refused("not a plain file")
    if path.stat().st_size > LARGEST:
        raise Refused(f"larger than {LARGEST // 10**6} MB")
    try:
        raw = json.loads(path.read_text(encoding="utf8"))
        cells = raw["cells"]
        return nbformat.v4.new_notebook(cells=[plain(c) for c in cells])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused("not a Jupyter notebook, or damaged") from None


def plain(cell: dict) -> NotebookNode:
    """A cell's kind, text and nbgrader name, and nothing else of it."""
    source = cell.get("source", "")
    source = source if isinstance(source, str) else "".join(map(str, source))
    if cell.get("cell_type") == "code":
        new = nbformat.v4.new_code_cell(source)
    else:
        new = nbformat.v4.new_markdown_cell(source)
    mark = cell.get("metadata", {}).get("nbgrader", {})
    if isinstance(mark, dict) and isinstance(mark.get("grade_id"), str):
        new.metadata["grade_id"] = mark["grade_id"]
    return new


def name_of(cell: NotebookNode) -> str | None:
    """The name that nbgrader knows a cell by, if it does."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def defined(source: str) -> set[str]:
    """The functions that a cell's code defines; magics and broken lines are no obstacle."""
    try:
        return {n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set(re.findall(r"^def (\w+)\s*\(", source, re.M))


def assignment_of(nb: NotebookNode, released: dict[str, NotebookNode], file: str = "") -> str:
    """The assignment that a notebook answers: the one in its file's name, else the most alike.

    Raises:
        Refused: it shares no cell and no function with any of them.
    """
    here = {f for c in nb.cells if c.cell_type == "code" for f in defined(c.source)}
    ids = {c.metadata.get("grade_id") for c in nb.cells}
    sources = {c.source.strip() for c in nb.cells}

    def alike(name: str) -> tuple:
        course = released[name].cells
        found = sum(
            name_of(c) in ids or c.source.strip() in sources or bool(defined(c.source) & here)
            for c in course
        )
        named = re.search(rf"(?<![a-z]){spelled(name)}(?!\d)", file, re.I) is not None
        return bool(found) and named, found / len(course), found

    best = max(released, key=alike)
    if not alike(best)[2]:
        raise Refused("it has no cell of any assignment")
    return best


def spelled(name: str) -> str:
    """A pattern for an assignment's name as people spell it: part-1, Part 1, part_1."""
    return "[ _-]*".join(map(re.escape, re.split("[ _-]", name)))


def answers(cell: NotebookNode) -> bool:
    """Whether a cell of a released notebook is one that the student fills in."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def mend(nb: NotebookNode, release: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """The released notebook with the student's answers in it, and what had to be mended.

    An answer is the last cell that defines its function. Cells that the student added stay, after
    the course's cell that they followed.
    """
    course = {name_of(c): c for c in release.cells}
    texts = {c.source.strip(): name for name, c in course.items()}
    marked = {c.metadata.get("grade_id"): c.source.strip() for c in nb.cells}
    notes = [] if marked.keys() & course.keys() else ["cell metadata was lost and is restored"]
    tests = [n for n, c in course.items() if c.metadata["nbgrader"].get("grade")]
    here = {c.source.strip() for c in nb.cells}
    missing = [n for n in tests if n not in marked and course[n].source.strip() not in here]
    edited = [n for n in tests if n in marked and marked[n] != course[n].source.strip()]
    notes += [f"test cells missing, restored: {', '.join(missing)}"] if missing else []
    notes += [f"test cells edited, restored: {', '.join(edited)}"] if edited else []
    chosen: dict[str, int] = {}
    for name, cell in course.items():
        if not answers(cell):
            continue
        wanted = defined(cell.source)
        by_name = [k for k, c in enumerate(nb.cells) if c.metadata.get("grade_id") == name]
        by_code = [
            k for k, c in enumerate(nb.cells)
            if c.cell_type == "code" and wanted & defined(c.source)
            and c.source.strip() != cell.source.strip()
        ]  # fmt: skip
        if len(by_code) > 1:
            notes.append(f"{name}: {len(by_code)} cells define it; the last one is graded")
        if by_code and by_name and not set(by_code) & set(by_name):
            notes.append(f"{name}: found in another cell")
        if not by_code and not by_name:
            notes.append(f"{name}: no answer found")
        if place := (by_code or by_name):
            chosen[name] = place[-1]
    return assemble(nb, course, texts, chosen), notes


def assemble(
    nb: NotebookNode, course: dict, texts: dict[str, str], chosen: dict[str, int]
) -> NotebookNode:
    """The cells of the course in their order, each with what the student added behind it."""
    added: dict[str | None, list[NotebookNode]] = {}
    taken = {k: name for name, k in chosen.items()}
    at: str | None = None
    for k, cell in enumerate(nb.cells):
        mark = cell.metadata.get("grade_id")
        name = taken.get(k) or (texts.get(cell.source.strip()) if k not in taken else None)
        if name is None and mark in course and not answers(course[mark]):
            name = mark  # a cell of the course, edited: the original comes back
        if name is not None:
            at = name
        elif cell.source.strip():
            added.setdefault(at, []).append(own(cell))
    cells = list(added.get(None, []))
    for name, cell in course.items():
        new = nbformat.from_dict(cell)
        if name in chosen:
            new.source = nb.cells[chosen[name]].source
        cells += [new, *added.get(name, [])]
    out = nbformat.v4.new_notebook(cells=cells)
    out.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    for k, cell in enumerate(out.cells):
        cell.id = f"cell-{k}"
    return out


def own(cell: NotebookNode) -> NotebookNode:
    """A cell that the student added: code as it is, text as plain text that no browser obeys."""
    if cell.cell_type == "code":
        return nbformat.v4.new_code_cell(cell.source)
    fence = "`" * (2 + max(map(len, re.findall(r"`+", cell.source)), default=1))
    return nbformat.v4.new_markdown_cell(f"{fence}text\n{cell.source}\n{fence}")


def files(folder: Path, assignments: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Each file handed in, with a name for its student; hidden files are no files.

    The name is that of the folder in which the file lies, or else of the file, without the name
    of the assignment: ``anna/part-1.ipynb``, ``anna.ipynb`` and ``part-1_anna.ipynb`` are all of
    anna. Where several files with names of their own lie in a folder, both names count.
    """
    called = "|".join(map(spelled, assignments))
    course = re.compile(rf"(copy of )?({called})(?!\d)", re.I)
    found: list[tuple[str, str, Path]] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink()):
        *above, _ = path.relative_to(folder).parts
        if any(part.startswith((".", "__")) for part in (*above, path.name)):
            continue
        own = course.sub("", re.sub(r"[ _-]*\(\d+\)$", "", path.stem)).strip(" _-.")
        found.append((next((a for a in above if not course.fullmatch(a)), ""), own, path))
    for within, own, path in found:
        owns = {o for w, o, _ in found if w == within and o}
        name = within if within and (not own or len(owns) == 1) else f"{within} {own}"
        yield plain_name(name) or f"{NAMELESS}_{plain_name(path.stem)}", path


def plain_name(name: str) -> str:
    """A name of letters, digits and ``._@-``, safe as a folder's."""
    return re.sub(r"[^\w.@-]+", "_", name).strip("._-")

"""What runs inside the sandbox: a student's cells, and calls of the student's functions.

It reads one JSON request a line and writes one JSON reply a line. Whatever runs here is the
student's, so nobody may trust a reply: it is read as plain data and compared elsewhere.
"""

import ast
import base64
import io
import json
import linecache
import math
import os
import re
import resource
import sys
import traceback
from typing import Any

FRAME = 8_000_000  # bytes of one request or reply
SHOWN = 20_000  # characters of printed text that are kept of one cell


def encode(x: Any, depth: int = 0) -> Any:
    """A value as JSON: None, bools, numbers, words, arrays, and lists, tuples and dicts of these.

    Raises:
        TypeError: the value, or one in it, is something else.
    """
    if depth > 20:
        raise TypeError("a value nested more than 20 deep")
    if type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x.float() if x.dtype.is_floating_point and x.element_size() < 4 else x).numpy()
    if type(x).__module__ == "numpy" and hasattr(x, "dtype"):
        if x.dtype.kind not in "biuf":  # words and objects, element by element
            x = x.tolist()
        elif x.ndim == 0:
            x = x.item()
        elif x.nbytes > FRAME // 4:
            raise ValueError(f"an array of shape {x.shape} is too large to be handed over")
        else:
            x = x.astype(x.dtype.newbyteorder("<")) if x.dtype.itemsize <= 8 else x.astype("<f8")
            data = base64.b64encode(x.tobytes()).decode()
            return {"array": [x.dtype.str, list(x.shape), data]}
    if type(x) is int and x.bit_length() > 1000:
        raise TypeError("an integer of more than 300 digits")
    if x is None or type(x) in (bool, int, str):
        return x
    if type(x) is float:
        return x if math.isfinite(x) else {"float": repr(x)}
    if type(x) is tuple:
        return {"tuple": [encode(v, depth + 1) for v in x]}
    if type(x) is list:
        return [encode(v, depth + 1) for v in x]
    if type(x) is dict:
        pairs = [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in x.items()]
        return {"dict": pairs}
    raise TypeError(f"a {type(x).__name__} is not plain data (numbers, words, lists, arrays)")


def decode(x: Any) -> Any:
    """The value of ``encode``; an array arrives as a NumPy array.

    Raises:
        ValueError, TypeError, KeyError: it is not what ``encode`` writes.
    """
    if isinstance(x, list):
        return [decode(v) for v in x]
    if not isinstance(x, dict):
        return x
    ((kind, value),) = x.items()
    if kind == "array":
        import numpy as np

        dtype, shape, data = value
        if dtype not in {"|b1", "|i1", "|u1"} | {f"<{k}{n}" for k in "iuf" for n in "248"}:
            raise ValueError(f"an array of {dtype}")
        return np.frombuffer(base64.b64decode(data), dtype=dtype).reshape(shape).copy()
    if kind == "float":
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value]
    if kind == "tuple":
        return tuple(decode(v) for v in value)
    if kind == "dict":
        return {decode(k): decode(v) for k, v in value}
    raise ValueError(f"a {kind}")


class Shown(io.TextIOBase):
    """Standard output of a cell; what is over the limit is dropped, and said so once."""

    def __init__(self) -> None:
        self.text, self.over = [], False
        self.left = SHOWN

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, s: str) -> int:
        """Keep what still fits."""
        self.text.append(s[: self.left])
        self.over |= len(s) > self.left
        self.left -= len(self.text[-1])
        return len(s)

    def take(self) -> str:
        """What was kept, and begin anew."""
        text = "".join(self.text) + ("\n… (the rest of the output was dropped)" * self.over)
        self.text, self.over, self.left = [], False, SHOWN
        return text


def limit(memory: int, processes: int) -> None:
    """Bounds that the kernel keeps for this process and its children."""
    os.nice(10)  # whoever watches comes first
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))


def python(source: str) -> str:
    """A cell as plain Python: where it is not, lines that start with ``%`` or ``!`` do nothing."""
    try:
        ast.parse(source)
    except SyntaxError:
        return re.sub(r"^([ \t]*)[%!].*$", r"\1pass", source, flags=re.M)
    return source


def run(source: str, names: dict, number: int) -> bool:
    """Run a cell in a namespace; an exception is printed, as far as it is the cell's own."""
    file = f"cell In [{number}]"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    try:
        exec(compile(python(source), file, "exec"), names)
    except BaseException as e:  # sys.exit and Ctrl-C end a cell, not the notebook
        below = e.__traceback__.tb_next if e.__traceback__ else None
        print("".join(traceback.format_exception(type(e), e, below)))
        return False
    return True


def main(memory: int, processes: int, book: str) -> None:
    """Serve requests until the other side closes the pipe; ``book`` is where kltools lies."""
    sys.path.insert(0, book)
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # what bypasses Python's own streams goes nowhere
        os.dup2(null, standard)
    sys.stdout = sys.stderr = shown = Shown()
    limit(memory, processes)
    me = os.getpid()
    names: dict = {"__name__": "__main__", "display": print}
    for line in requests:
        request = json.loads(line)
        if "run" in request:
            reply = {"failed": not run(request["run"], names, request["cell"])}
        else:
            try:
                f = names[request["call"]]
                reply = {"value": encode(f(*decode(request["args"])))}
            except BaseException as e:  # sys.exit and Ctrl-C are an answer too
                reply = {"error": [type(e).__name__, str(e)[:2000]]}
        if os.getpid() != me:  # a copy that the student's code made of this process
            os._exit(0)
        reply |= {"text": shown.take(), "id": request["id"]}
        frame = json.dumps(reply).encode()
        if len(frame) > FRAME // 2:
            too_large = ["ValueError", "the result is too large to be handed over"]
            frame = json.dumps(reply | {"value": None, "error": too_large}).encode()
        replies.write(frame + b"\n")
        replies.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

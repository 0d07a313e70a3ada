"""Mischief: each kind is tried on the sandbox, and what comes of it is looked at from outside."""

import os
import re
import time
from pathlib import Path

import numpy as np
import pytest

from chapters.assignments import isolation, runner
from chapters.assignments.execute import examine
from chapters.assignments.isolation import Limits, Submission

GOOD = "def good(x):\n    return [2 * v for v in x]\n"
LONG, SHORT = Limits(seconds=30), Limits(seconds=2)  # short where it is to run out


pytestmark = pytest.mark.usefixtures("sandboxed")


def survives(code: str, limits: Limits = LONG) -> tuple[str, list]:
    """What a mischievous cell printed; and that what stands before and after it still counts."""
    with Submission(limits) as s:
        s.run(GOOD)
        text, _ = s.run(code)
        s.run("def later(x):\n    return good(x)[0]\n")
        answers = [s.call("good", ([1, 2],)), s.call("later", ([3],))]
    assert answers == [[2, 4], 6]
    return text, answers


@pytest.mark.parametrize(
    "code, says",
    [
        ("while True:\n    pass", "no answer within 2 seconds"),
        (
            "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
            "no answer",
        ),
        ("import signal\nsignal.pause()", "no answer"),
        ("import os\nos._exit(0)", "the process ended"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "the process ended"),
        ("import ctypes\nctypes.string_at(0)", "the process ended"),
        ("import sys\nsys.exit()", "SystemExit"),
        ("exit()", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os\nwhile True:\n    os.fork()", "processes|memory|unavailable"),
        ("x = bytearray(3 * 10**9)", "MemoryError"),
        ("for _ in range(1000):\n    print('x' * 10**6)", "the rest of the output was dropped"),
        ("for k in range(99):\n    open(f'/tmp/{k}', 'wb').write(bytes(10**7))", "No space left"),
        ("print(", "SyntaxError"),
        ("x = '\\x00'\n\x00", "SyntaxError"),
        ("%matplotlib inline\n!echo hi\nprint('ran')", "ran"),
    ],
)
def test_it_costs_its_own_cell_alone(code, says):
    text, _ = survives(code, SHORT if says.startswith("no answer") else LONG)
    assert re.search(says, text), text


def test_memory_of_all_processes_together():
    """Each of them stays under the limit of one; their sum does not."""
    code = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        x = b'x' * 10**8\n"
        "        time.sleep(60)\n"
        "time.sleep(60)"
    )
    text, _ = survives(code, Limits(seconds=20, memory=400 * 2**20))
    assert "400 MiB of memory" in text


def test_a_copy_of_the_process_does_not_answer():
    """A forked child goes on where its parent was; it must not speak for the student."""
    with Submission(LONG) as s:
        s.run("import os, time\nn = 0")
        s.run("def f(x):\n    global n\n    n += 1\n    os.fork()\n    return n")
        assert [s.call("f", (0,)) for _ in range(5)] == [1, 2, 3, 4, 5]
        s.run("if os.fork() == 0: time.sleep(0.2)")
        assert [s.call("f", (0,)) for _ in range(5)] == [6, 7, 8, 9, 10]


def test_the_kernel_bounds_the_number_of_processes():
    """A watcher alone would be starved: it is seldom its turn among thousands of processes."""
    code = (
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0: time.sleep(9)\n"
    )
    code += "        n += 1\nexcept OSError:\n    print('forked', n)\n"
    with Submission(Limits(seconds=8, processes=10**6)) as s:
        s.limits = Limits(processes=40)
        s.process = isolation.Process(s.limits)
        s.process.limits = Limits(seconds=8, processes=10**6)  # the watcher looks away
        text, _ = s.run(code)
    assert 20 < int(text.split()[1]) < 40


def test_no_namespace_of_its_own_can_be_made():
    """In one, a student could mount memory that nobody counts."""
    text, _ = survives("import os\nprint(os.system('unshare --user true') != 0)")
    assert text == "True\n"


def test_the_bomb_is_gone_afterwards():
    mark = "kltools-bomb-of-this-test"
    code = (
        "import subprocess, sys, os\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', '{mark}'],\n"
        "    start_new_session=True)\n"
        "os._exit(0)"
    )
    survives(code)
    time.sleep(0.2)
    seen = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not any(mark.encode() in words for words in seen)


@pytest.mark.parametrize(
    "code",
    [
        "import socket\nsocket.create_connection(('127.0.0.1', {port}), 1)",
        "import socket\nsocket.create_connection(('192.0.2.1', 80), 1)",
    ],
)
def test_there_is_no_network(code):
    """A server that listens here cannot be reached from there; from here it can."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), 1).close()
        text, _ = survives(code.format(port=port))
    assert "OSError" in text or "ConnectionRefusedError" in text


def test_no_file_of_the_course_is_there(root, tmp_path):
    """Neither the sources, nor the tests, nor a gradebook, nor the home folder, nor /tmp."""
    secret = tmp_path / "gradebook.db"
    secret.write_text("hidden test")
    home = Path.home()
    paths = [root / "chapters/assignments/source", root / "tests", root / ".git", secret, tmp_path]
    code = "import os\n" + "".join(
        f"print(os.path.exists({str(p)!r}))\n" for p in paths
    )  # fmt: skip
    code += f"print(os.path.exists({str(home / '.profile')!r}), os.path.exists('/etc/passwd'))\n"
    code += (
        "found = []\n"
        "for folder, folders, files in os.walk('/'):\n"
        "    folders[:] = [] if folder == '/proc' else folders\n"
        "    found += [f for f in files if f.startswith('part-') and f.endswith('.ipynb')]\n"
        "print(found)"
    )
    text, _ = survives(code, Limits(seconds=60))
    assert text.split() == ["False"] * 7 + ["[]"], text
    assert all(p.exists() for p in paths), "the test would say nothing"


@pytest.mark.parametrize(
    "path",
    [
        "/usr/x",
        "/etc/x",
        "{venv}/x",
        "/book/kltools/check.py",
        "/x",
        "/dev/x",
        "/proc/sys/kernel/x",
    ],
)
def test_nothing_outside_can_be_written(path):
    import sys

    path = path.format(venv=sys.prefix)
    before = Path(path).read_bytes() if Path(path).exists() else None
    text, _ = survives(f"open({path!r}, 'w').write('x')")
    assert "Error" in text
    assert (Path(path).read_bytes() if Path(path).exists() else None) == before


def test_no_other_process_is_seen_and_no_secret_of_the_environment(monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_TEACHER", "42")
    code = (
        "import os\n"
        "print(sorted(p for p in os.listdir('/proc') if p.isdigit()))\n"
        "print([n for n in os.environ if 'SECRET' in n])\n"
        "os.kill(os.getppid(), 9)\n"
        "print('still here')"
    )
    text, _ = survives(code)
    pids, secrets = text.splitlines()[:2]
    assert len(pids.split(",")) <= 5 and secrets == "[]"


FORGE = (
    "import os\n"
    "def f(x):\n"
    "    for fd in range(3, 64):\n"
    "        try: os.write(fd, b'{}\\n')\n"
    "        except OSError: pass\n"
    "    return 7\n"
)


@pytest.mark.parametrize(
    "forged",
    [
        '{{"id": 2, "text": ""}}',
        "[]",
        "no json",
        '{{"id": 2, "text": 5}}',
        "[" * 50_000,
        '{{"id": 2, "text": "", "value": {{"array": ["<f8", [2], "AAAA"]}}}}',
        '{{"id": 2, "text": "", "value": {{"array": ["|O8", [1], "AAAAAAAAAAA="]}}}}',
        '{{"id": 2, "text": "", "value": {{"array": ["<f8", [99999999999], ""]}}}}',
        '{{"id": 2, "text": "", "value": {{"exec": "print(1)"}}}}',
        '{{"id": 2, "text": "", "error": 5}}',
        '{{"id": 2, "text": "", "error": ["SystemExit", "0"]}}',
        '{{"id": 2, "text": "", "error": ["UnicodeDecodeError", "x"]}}',
    ],
)
def test_a_forged_reply_is_an_error_and_no_more(forged):
    with Submission(LONG) as s:
        s.run(FORGE.replace("{}", forged.format().replace("'", "\\'")))
        with pytest.raises((RuntimeError, TypeError)):
            s.call("f", (1,))
        s.run(GOOD)
        assert s.call("good", ([1],)) == [2]


def test_a_forged_value_is_worth_what_a_returned_one_is():
    with Submission(LONG) as s:
        s.run(FORGE.replace("{}", '{"text": "", "value": 5, "id": 2}'))
        assert s.call("f", (1,)) == 5
        s.run(GOOD)
        assert s.call("good", ([1],)) == [2]  # the late reply of f is not taken for it


CHEATS = {
    "always equal": (
        "class E(float):\n"
        "    def __eq__(self, o): return True\n"
        "    def __sub__(self, o): return 0.0\n"
        "def f(x): return E(0)\n"
    ),
    "patched checker": (
        "from kltools import tasks\n"
        "tasks.answer = tasks.refuses = lambda *a, **k: None\n"
        "tasks.same = lambda *a, **k: True\n"
        "import numpy as np\n"
        "np.allclose = lambda *a, **k: True\n"
        "import builtins\n"
        "builtins.AssertionError = ZeroDivisionError\n"
        "builtins.all = lambda *a: True\n"
        "def f(x): return 0\n"
    ),
    "looks for the tests": (
        "import gc, inspect, sys\n"
        "def f(x):\n"
        "    frame, seen = sys._getframe(), []\n"
        "    while frame:\n"
        "        seen += [v for v in frame.f_locals.values() if isinstance(v, (int, float))]\n"
        "        frame = frame.f_back\n"
        "    texts = [o for o in gc.get_objects() if isinstance(o, str) and 'want=' in o]\n"
        "    return seen[-1] if seen and not texts else 0\n"
    ),
    "an object": "def f(x): return object()\n",
    "a function": "def f(x): return f\n",
    "too large": "import numpy as np\ndef f(x): return np.zeros(10**7)\n",
    "deeply nested": "def f(x):\n    y = []\n    for _ in range(500): y = [y]\n    return y\n",
    "a huge integer": "def f(x): return 10 ** 10**6\n",
    "itself inside": "def f(x):\n    y = []\n    y.append(y)\n    return y\n",
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_earns_nothing_and_the_next_task_is_not_touched(cheat):
    test = "from kltools import tasks\ntasks.answer(f, 3, want=9.5)\nprint('passed')"
    good = "from kltools import tasks\ntasks.answer(good, [1], want=[2])\nprint('passed')"
    with Submission(LONG) as s:
        s.run(CHEATS[cheat])
        s.run(GOOD)
        failed = examine(test, {"f": s.function("f")})
        passed = examine(good, {"good": s.function("good")})
    assert [o.output_type for o in failed] == ["error"]
    assert [o.get("text") for o in passed] == ["passed\n"]
    with Submission(LONG) as s:  # the test can be passed
        s.run("def f(x): return 9.5")
        assert [o.get("text") for o in examine(test, {"f": s.function("f")})] == ["passed\n"]


def test_the_time_of_a_notebook_has_an_end():
    started = time.monotonic()
    with Submission(Limits(seconds=1, total=2)) as s:
        s.run(GOOD)
        for _ in range(5):
            text, failed = s.run("while True: pass")
        assert failed and "are used up" in text
        with pytest.raises(RuntimeError, match="used up"):
            s.call("good", ([1],))
    assert time.monotonic() - started < 10


def test_a_function_that_ends_the_interpreter_costs_one_call():
    code = "import os\ndef bad(x):\n    os._exit(0)\n"
    with Submission(LONG) as s:
        s.run(GOOD)
        s.run(code)
        with pytest.raises(RuntimeError, match="bad was stopped: the process ended"):
            s.call("bad", (1,))
        assert s.call("good", ([1],)) == [2]


def test_a_cell_that_ends_it_only_the_second_time_is_left_out():
    """State that outlives a restart would be needed for more; there is none."""
    code = "import os, time\nif time.time() > {}:\n    os._exit(0)\n"
    with Submission(LONG) as s:
        s.run(GOOD)
        s.run(code.format(time.time() + 1))
        time.sleep(1.1)
        s.run("os._exit(0)")
        assert s.call("good", ([1],)) == [2]


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -2.5, float("inf"), float("-inf"), "é\n", [], (), {}, [1, (2.0, "x")],
        {"a": [1], 2: (None,)}, 2**70,
    ],
)  # fmt: skip
def test_plain_values_cross_unchanged(value):
    got = runner.decode(runner.encode(value))
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "int64", "uint8", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (2, 0, 1)])
def test_arrays_cross_unchanged(dtype, shape):
    a = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    got = runner.decode(runner.encode(a))
    assert got.dtype == a.dtype and got.shape == a.shape and np.array_equal(got, a)


def test_scalars_of_libraries_become_plain():
    import torch

    for x in (np.float64(0.5), np.float32(0.5), torch.tensor(0.5), torch.tensor(0.5).bfloat16()):
        assert runner.decode(runner.encode(x)) == 0.5
    assert runner.decode(runner.encode(np.bool_(True))) is True
    assert runner.decode(runner.encode(np.array(["a", "b"]))) == ["a", "b"]
    grown = torch.ones(2, 3, requires_grad=True)
    assert np.array_equal(runner.decode(runner.encode(grown)), np.ones((2, 3)))
    assert np.isnan(runner.decode(runner.encode(float("nan"))))


def test_torch_works_in_the_sandbox():
    code = (
        "import torch\n"
        "def slope(x):\n"
        "    x = torch.tensor(x, requires_grad=True)\n"
        "    (x**2).sum().backward()\n"
        "    return x.grad\n"
    )
    with Submission(Limits(seconds=60)) as s:
        text, failed = s.run(code)
        assert not failed, text
        assert np.array_equal(s.call("slope", (np.array([1.0, 2.0]),)), [2.0, 4.0])


def test_without_bubblewrap_the_word_is_plain(monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(RuntimeError, match=r"bwrap not found.*bubblewrap"):
        isolation.works()

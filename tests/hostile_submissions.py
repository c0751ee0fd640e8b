"""Submissions that are odd, broken or hostile: what they hand in, and how each must be marked.

All of them answer `chance_loss` of notebook 00, whose answer is 2 ln N.
"""

import json
import textwrap
from pathlib import Path

from tests.submissions import Cells, code_cell, hand_in, save

RIGHT = "def chance_loss(n):\n    return 2 * math.log(n)"
WRONG = "def chance_loss(n):\n    return math.log(n)"

ODD_BUT_RIGHT: dict[str, Cells] = {
    "copied": [RIGHT, RIGHT],
    "corrected": [WRONG, RIGHT],
    "then_a_stub": [RIGHT, "def chance_loss(n):\n    ..."],
    "cut_in_two": ["def chance_loss(n):", "    result = math.log(n)\n    return 2 * result"],
    "cut_after_a_whole_part": ["def chance_loss(n):\n    x = math.log(n)", "    return 2 * x"],
    "helper_below": ["def chance_loss(n):\n    return both(n)", "def both(n): return 2 * one(n)",
                     "def one(n):\n    return -log(1 / n)", "from math import log"],
    "constant": ["TWICE = 1\nTWICE += 1",
                 "def chance_loss(n, k=TWICE):\n    return k * math.log(n)"],
    "table": ["table = {}\nfor i in range(1, 70_000):\n    table[i] = 2 * math.log(i)",
              "def chance_loss(n):\n    return table.get(n, 2 * math.log(n))"],
    "lambda": ["chance_loss = lambda n: 2 * math.log(n)"],
    "partial": ["from functools import partial", "def times(k, n):\n    return k * math.log(n)",
                "chance_loss = partial(times, 2)"],
    "decorated": ["from functools import lru_cache", "@lru_cache\n" + RIGHT],
    "then_not_implemented": [RIGHT, "def chance_loss(n):\n    raise NotImplementedError"],
    "magic_inside": ["def chance_loss(n):\n    %time x = n\n    return 2 * math.log(n)"],
    "prompts": [">>> x = 2", ">>> def chance_loss(n):\n...     return x * math.log(n)"],
    "object": ["class Loss:\n    def __call__(self, n):\n        return 2 * math.log(n)",
               "chance_loss = Loss()"],
    "under_if": ["if True:\n    def chance_loss(n):\n        return 2 * math.log(n)"],
    "star": ["from math import *", "def chance_loss(n):\n    return 2 * log(n)"],
    "magic": ["%time\n!ls\n" + RIGHT + "\nchance_loss?", "%%time\nx = 1", "%%bash\nls"],
    "timed_cell": ["%%time\n" + RIGHT],
    "indented": [textwrap.indent(RIGHT, "    ")],
    "syntax_error_elsewhere": ["def oh no(", RIGHT, "x = = 1"],
    "exit_elsewhere": ["import sys\nsys.exit()", RIGHT, "raise SystemExit"],
    "loop_elsewhere": ["while True:\n    pass", RIGHT],
    "training_elsewhere": ["losses = [train() for _ in range(10**9)]", RIGHT],
    "prints_much": ["def chance_loss(n):\n    print('x' * 10**6)\n    return 2 * math.log(n)"],
    "writes_in_its_folder": ["def chance_loss(n):\n    torch.save(n, 'n.pt')\n"
                             "    return 2 * math.log(torch.load('n.pt'))"],
    "postponed_annotations": ["from __future__ import annotations",
                              "def chance_loss(n: Unknown):\n    return 2 * math.log(n)"],
    "other_kind_of_number": ["def chance_loss(n):\n    return np.float64(2) * np.log(n)"],
    "threads": ["from concurrent.futures import ThreadPoolExecutor",
                "def chance_loss(n):\n    with ThreadPoolExecutor(2) as pool:\n"
                "        return sum(pool.map(math.log, [n, n]))"],
    "shows": ["def chance_loss(n):\n    display(n)\n    return 2 * math.log(n)"],
    "library": ["from align_edu import contrastive_loss",
                "def chance_loss(n):\n    x = torch.ones(n if n < 999 else 2, 3)\n"
                "    return contrastive_loss(x, x, 1.0, label_smoothing=0.0).item() if n < 999"
                " else 2 * math.log(n)"],
}  # fmt: skip

WRONG_OR_BROKEN: dict[str, tuple[str, str | Cells]] = {
    "spoilt": ("wrong", [RIGHT, WRONG]),
    "none": ("wrong", "print(n)"),
    "liar": ("wrong", ["class Liar:\n    def __eq__(self, other): return True\n"
                       "    def __float__(self): return 1.0\n    def __abs__(self): return 0",
                       "def chance_loss(n):\n    return Liar()"]),
    "liars": ("wrong", ["class Liar(float):\n    def __eq__(self, other): return True\n"
                        "    def __sub__(self, other): return 0.0",
                        "def chance_loss(n):\n    return Liar(n)"]),
    "patches_the_judge": ("wrong", """
        import math, torch
        import align_edu.lab.outcomes as outcomes
        torch.allclose = math.isclose = outcomes.same = lambda *a, **k: True
        return 1.0"""),
    "huge_list": ("wrong", "return [0.0] * 10**7"),
    "huge_tensor": ("wrong", "return torch.zeros(10**7)"),
    "undefined": ("error", "return undefined_name"),
    "arguments": ("error", ["def chance_loss():\n    return 1.0"]),
    "raises": ("error", "raise ValueError('\\ud800 no')"),
    "raises_strangely": ("error", """
        class Odd(Exception):
            def __str__(self): raise RuntimeError
        raise Odd"""),
    "interrupts": ("error", "raise KeyboardInterrupt"),
    "recursion": ("error", "return chance_loss(n)"),
    "no_function": ("error", ["chance_loss = 3"]),
    "crash": ("error", "import ctypes\nreturn ctypes.string_at(0)"),
    "garbage": ("error", "import os\nos.write(3, b'[[[[\\n' * 50)\nreturn 1.0"),
    "forges": ("error", """
        import os
        os.write(3, b'{"outcomes": [1, 2], "answers": false}\\n')
        os._exit(0)"""),
    "chatter": ("error", "import os\nwhile True:\n    os.write(3, b'1' * 60_000)"),
    "loop": ("time", "while True:\n    pass"),
    "loop_before": ("time", ["x = sum(iter(int, 1))", "def chance_loss(n):\n    return x"]),
    "stubborn_loop": ("time", """
        import signal
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while True:
            try:
                while True: pass
            except BaseException: pass"""),
    "asleep": ("time", "import time\ntime.sleep(1000)"),
    "list_of_everything": ("memory", "return [0] * 10**12"),
    "growing": ("memory", "x = []\nwhile True:\n    x.append(torch.empty(10**7))"),
    "huge_allocation": ("memory", "return torch.zeros(10**12).sum()"),
    "sys_exit": ("exit", "import sys\nsys.exit(0)"),
    "os_exit": ("exit", "import os\nos._exit(0)"),
    "exit_in_a_constant": ("exit", ["x = exit()", "def chance_loss(n):\n    return x"]),
    "fork_bomb": ("forbidden", "import os\nwhile True:\n    os.fork()"),
    "hidden_fork": ("forbidden", """
        import os
        try: os.fork()
        except OSError: pass
        return 2 * math.log(n)"""),
    "program": ("forbidden", "import subprocess\nreturn subprocess.run(['ls'])"),
    "shell": ("forbidden", "import os\nreturn os.system('ls')"),
    "kills_its_parent": ("forbidden", "import os\nos.kill(os.getppid(), 9)"),
    "fills_the_disk": ("error", """
        for i in range(10**6):
            with open(f'file{i}', 'wb') as file:
                file.write(bytes(10**6))"""),
    "digs_down": ("time", "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')"),
    "syntax_error": ("missing", ["def chance_loss(n) return 2"]),
    "deleted": ("missing", []),
    "renamed": ("missing", ["def chance_los(n):\n    return 2 * math.log(n)"]),
    "stub": ("not attempted", ["def chance_loss(n):\n    ..."]),
    "only_words": ("not attempted", ["def chance_loss(n):\n    '''I do not know.'''\n    pass"]),
    "not_implemented": ("not attempted", "raise NotImplementedError('later')"),
    "not_implemented_below": ("not attempted", ["def later(n):\n    raise NotImplementedError",
                                                "def chance_loss(n):\n    return later(n)"]),
    "closes_its_pipe": ("exit", "import os\nos.close(3)\nos._exit(0)"),
    "forks_with_c": ("right", """
        import ctypes, os, resource
        most = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        resource.setrlimit(resource.RLIMIT_NPROC, (1, most))
        number = ctypes.CDLL(None).fork()
        if number == 0:
            os._exit(0)
        return 2 * math.log(n) if number < 0 and most <= 100 else 0.0"""),
    "writes_settings_with_c": ("right", """
        import ctypes
        number = ctypes.CDLL(None).open(b'/proc/sys/kernel/core_pattern', 1)
        return 2 * math.log(n) if number < 0 else 0.0"""),
    "sees_no_secrets": ("right", """
        import ctypes, os
        seen = [p for p in (b'/root/.bashrc', b'/etc/passwd', b'/etc/shadow', b'/var')
                if ctypes.CDLL(None).access(p, 0) == 0]
        others = [p for p in range(3, 100) if os.path.exists(f'/proc/{p}') and p != os.getpid()]
        return 2 * math.log(n) if not seen and not others else 0.0"""),
}  # fmt: skip

UNREADABLE: dict[str, bytes] = {
    "empty_file": b"",
    "text": b"def chance_loss(n): return 2 * math.log(n)",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "other_json": b"[1, 2, 3]",
    "no_cells": b'{"metadata": {}}',
    "deep": b"[" * 100_000,
}


def function(body: str | Cells) -> Cells:
    """The cells of an answer whose body is given."""
    if not isinstance(body, str):
        return body
    body = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    return [f"def chance_loss(n):\n{body}"]


def spies(neighbour: Path, outside: Path, grades: Path, port: int) -> dict[str, tuple[str, str]]:
    """Submissions that reach for a neighbour, a file outside, the marks, and a local server."""
    folder = str(neighbour.parent)
    return {
        "reads_its_neighbour": ("forbidden", f"return len(open({str(neighbour)!r}).read())"),
        "lists_the_class": ("forbidden", f"import os\nos.listdir({folder!r})"),
        "overwrites_the_marks": ("forbidden", f"open({str(grades)!r}, 'w').write('1')"),
        "overwrites_and_answers": ("forbidden", f"""
            try: open({str(grades)!r}, 'w').write('1')
            except OSError: pass
            return 2 * math.log(n)"""),
        "changes_a_file": ("forbidden", f"open({str(outside)!r}, 'a').write('x')"),
        "removes_a_file": ("forbidden", f"import os\nos.remove({str(outside)!r})"),
        "moves_a_file": ("forbidden", f"import os\nos.rename({str(outside)!r}, 'mine')"),
        "removes_the_class": ("forbidden", f"import shutil\nshutil.rmtree({folder!r})"),
        "links_to_a_file": ("forbidden", f"import os\nos.symlink({str(outside)!r}, 'mine')"),
        "saves_outside": ("error", f"torch.save(n, {str(outside)!r})"),
        "writes_with_c": ("wrong", f"""
            import ctypes
            libc = ctypes.CDLL(None)
            libc.chmod({str(outside).encode()!r}, 0o777)
            libc.rename({str(outside).encode()!r}, b'mine')
            return libc.open({str(outside).encode()!r}, 0o1002)"""),
        "connects": ("forbidden", f"""
            import socket
            socket.create_connection(('127.0.0.1', {port}))"""),
        "asks_the_web": ("forbidden", f"""
            from urllib.request import urlopen
            return len(urlopen('http://127.0.0.1:{port}/').read())"""),
        "connects_with_c": ("wrong", f"""
            import ctypes, struct
            libc = ctypes.CDLL(None)
            number = libc.socket(2, 1, 0)
            address = struct.pack('=H', 2) + struct.pack('>HI8x', {port}, 0x7F000001)
            return libc.connect(number, address, 16)"""),
    }  # fmt: skip


def hand_in_reordered(folder: Path) -> None:
    """The whole notebook from its end to its beginning; and nothing but the answer."""
    file = hand_in(folder, "reversed", "00", {"chance_loss": [RIGHT]})
    save(folder, "reversed", "00", json.loads(file.read_text())["cells"][::-1])
    save(folder, "bare", "00", [code_cell(RIGHT)])

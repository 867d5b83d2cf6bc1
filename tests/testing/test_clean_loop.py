"""What the loops of our own tests report and nobody catches fails the test, or a later one that says whose it is."""

import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
HEAD = "import asyncio, gc\n\ndef bad():\n    raise ValueError('bad luck')\n\nasync def fail():\n    bad()\n\n"
IN_A_CALLBACK = "    asyncio.get_running_loop().call_soon(bad)\n    await asyncio.sleep(0)\n"
IN_A_TASK = "    task = asyncio.create_task(fail())\n    await asyncio.sleep(0)\n"


def outcome(folder: Path, code: str) -> str:
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
        "markers =\n    realtime\n"
    )
    (folder / "test_it.py").write_text(HEAD + code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_an_error_that_nobody_catches_fails_the_test_on_either_loop(tmp_path: Path) -> None:
    bodies = {"callback": IN_A_CALLBACK, "task": IN_A_TASK + "    del task\n"}
    marks = {"virtual": "", "real": "@pytest.mark.realtime\n"}
    tests = {f"test_{name}_{loop}": (mark, body) for name, body in bodies.items() for loop, mark in marks.items()}
    code = "".join(f"{mark}async def {name}():\n{body}\n" for name, (mark, body) in tests.items())
    text = outcome(tmp_path, "import pytest\n\n" + code)
    assert "4 passed, 4 errors" in text
    for name in tests:
        assert f"nobody caught: ['{name}" in text.replace('"', "'")
    assert text.count("ValueError('bad luck')") >= 4


def test_an_error_found_after_its_test_fails_the_next_which_names_it(tmp_path: Path) -> None:
    code = (
        f"kept = []\n\nasync def test_first():\n{IN_A_TASK}    kept.append(task)\n\n"
        "async def test_second():\n    kept.clear()\n    gc.collect()\n"
    )
    text = outcome(tmp_path, code)
    assert "2 passed, 1 error" in text
    assert "ERROR test_it.py::test_second" in text
    assert 'nobody caught: ["test_first' in text


def test_an_error_found_after_the_last_test_fails_it(tmp_path: Path) -> None:
    code = (
        "import pytest\nkept = []\n\n@pytest.fixture(autouse=True, scope='session')\ndef forget(loop_errors):\n"
        f"    yield\n    kept.clear()\n    gc.collect()\n\nasync def test_it():\n{IN_A_TASK}    kept.append(task)\n"
    )
    assert "1 passed, 1 error" in outcome(tmp_path, code)


def test_a_test_that_expects_errors_takes_them_out(tmp_path: Path) -> None:
    code = f"async def test_it(loop_errors):\n{IN_A_CALLBACK}    assert 'bad luck' in loop_errors.pop()\n"
    text = outcome(tmp_path, code)
    assert "1 passed" in text
    assert "error" not in text

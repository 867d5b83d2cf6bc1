"""The machine, and what on it decides how fast things are."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from loadtest._result import Box

__all__ = ["box"]

_CHECKOUT = Path(__file__).resolve().parents[1]
_PACKAGES = ("liverpc", "locust", "gevent", "msgspec", "websockets")
_FILES = {
    "outgoing ports": "/proc/sys/net/ipv4/ip_local_port_range",
    "somaxconn": "/proc/sys/net/core/somaxconn",
    "tcp_tw_reuse": "/proc/sys/net/ipv4/tcp_tw_reuse",
    "CPU quota": "/sys/fs/cgroup/cpu.max",
}


def box() -> Box:
    """This machine and this Python, now. What cannot be found out is left out, or empty."""
    cpu, cores, kernel, python = _cpu(), os.cpu_count() or 1, platform.release(), _python()
    deciding = "\n".join((cpu, str(cores), platform.system(), kernel, python))
    return Box(
        fingerprint=hashlib.sha256(deciding.encode()).hexdigest()[:12],
        cpu=cpu,
        cores=cores,
        kernel=f"{platform.system()} {kernel}",
        python=python,
        versions={name: found for name in _PACKAGES if (found := _version(name))},
        limits=_limits(),
        commit=_commit(),
    )


def _cpu() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _python() -> str:
    words = [platform.python_version(), platform.python_implementation()]
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        words.append("free-threaded")
    if sysconfig.get_config_var("Py_DEBUG"):
        words.append("debug")
    return " ".join(words)


def _limits() -> dict[str, str]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = {"open files": f"{_shown(soft)}, at most {_shown(hard)}"}
    limits |= {name: " ".join(text.split()) for name, path in _FILES.items() if (text := _read(path))}
    return limits


def _shown(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    """Short, with a ``+`` when files differ from it; empty outside of a checkout."""
    commit = _git("rev-parse", "--short=10", "HEAD")
    return f"{commit}+" if commit and _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - constant arguments, no shell
            ["git", "-C", str(_CHECKOUT), *arguments],  # noqa: S607 - whichever git there is
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""

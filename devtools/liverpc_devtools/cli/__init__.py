"""``liverpc-tui``: devtools in the terminal.

Exit codes: 0 done, 1 the server would not, 2 usage, 3 refused, 4 cannot connect or no devtools there, 5 what
``--fail-on`` names happened, 6 another version of the protocol, 7 the stream ended early, 130 interrupted.

The commands that draw are in :mod:`.screen`, those that write data in :mod:`.data`, those that change something on
a server in :mod:`.change`, those about recordings in :mod:`.tapes`; :mod:`.options` is what they share.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from liverpc.errors import AttachError, ConfigError
from liverpc.inspector.protocol import TOKEN_VARIABLE
from liverpc_devtools.cli import change, data, keys, options, screen, tapes
from liverpc_devtools.core.attach import Ended
from liverpc_devtools.core.faults import FaultError
from liverpc_devtools.headless.output import Refused, narrate

__all__ = ["main"]

_CODES = {"refused": 3, "absent": 4, "unreachable": 4, "version": 6}
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _parser()
    given = parser.parse_args(argv)
    try:
        return int(given.run(given))
    except (ConfigError, FaultError) as error:
        return _fail(2, error)
    except Ended as error:
        return _fail(7, error)
    except AttachError as error:
        return _fail(_CODES.get(error.kind, 1), error)
    except Refused as error:
        return _fail(1, error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has enough. The interpreter must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _fail(code: int, error: Exception) -> int:
    for line in str(error).splitlines():
        narrate(line)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="liverpc-tui",
        description="Look into a running liverpc server.",
        epilog=f"A token comes from --token-file, from {TOKEN_VARIABLE}, or from a server of yours on this machine.",
    )
    parser.add_argument("--version", action="version", version=f"liverpc-tui {options.version()}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    screen.add_to(commands)
    tapes.add_to(commands)
    data.add_to(commands)
    change.add_to(commands)
    keys.add_to(commands)
    return parser

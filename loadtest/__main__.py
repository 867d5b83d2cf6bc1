"""``python -m loadtest``: see ``_command.py``."""

from __future__ import annotations

import sys

from loadtest._command import main

if __name__ == "__main__":
    sys.exit(main())

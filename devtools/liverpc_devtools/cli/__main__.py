"""``python -m liverpc_devtools.cli`` is ``liverpc-tui``."""

from __future__ import annotations

import sys

from liverpc_devtools.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m liverpc.cli``."""

import sys

from liverpc.cli.main import main

sys.exit(main())

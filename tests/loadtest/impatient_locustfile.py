"""The load tests, which wait for what never comes no longer than a test of them can."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from loadtest import locustfile
from loadtest._uploads import Upload

__all__ = ["UploadUser"]

UploadUser = locustfile.UploadUser
Upload.answer_seconds = 1.0
Upload.clean_seconds = 1.0

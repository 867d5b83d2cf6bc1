"""The load tests, which wait for what never comes no longer than a test of them can."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import loadtest.locustfile  # noqa: F401 - it adds the options
from loadtest._uploads import Upload, UploadUser

__all__ = ["UploadUser"]

Upload.answer_seconds = 1.0
Upload.clean_seconds = 1.0

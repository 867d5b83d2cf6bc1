"""Load tests of a liverpc server with Locust; needs ``pip install 'liverpc[loadtest]'``.

Importing a name that runs under gevent imports Locust, which patches the standard library: do it in a
locustfile, not in a test's process. :mod:`.ledger`, :mod:`.audit`, :mod:`.histogram`, :mod:`.schedule`,
:mod:`.frames`, :mod:`.target`, :mod:`.people` and :mod:`.mix` are pure and can be imported anywhere.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from liverpc.errors import MissingExtraError

if TYPE_CHECKING:
    from liverpc.contrib.locust.attach import Attachment, Counts
    from liverpc.contrib.locust.audit import ResumeAudit
    from liverpc.contrib.locust.client import Attempt, LiveClient
    from liverpc.contrib.locust.histogram import Histogram
    from liverpc.contrib.locust.ledger import Ledger
    from liverpc.contrib.locust.mix import Mix, Recorded
    from liverpc.contrib.locust.people import People, Person
    from liverpc.contrib.locust.recorded import RecordedUser, Replayed
    from liverpc.contrib.locust.recorder import Recorder, recorder_of
    from liverpc.contrib.locust.schedule import due_times
    from liverpc.contrib.locust.uploading import LiveUpload
    from liverpc.contrib.locust.users import ConnectOptions, LiveUser

_HOME = {
    "Attachment": "attach",
    "Attempt": "client",
    "ConnectOptions": "users",
    "Counts": "attach",
    "Histogram": "histogram",
    "Ledger": "ledger",
    "LiveClient": "client",
    "LiveUpload": "uploading",
    "LiveUser": "users",
    "Mix": "mix",
    "People": "people",
    "Person": "people",
    "Recorded": "mix",
    "RecordedUser": "recorded",
    "Recorder": "recorder",
    "Replayed": "recorded",
    "ResumeAudit": "audit",
    "due_times": "schedule",
    "recorder_of": "recorder",
}

__all__ = [
    "Attachment",
    "Attempt",
    "ConnectOptions",
    "Counts",
    "Histogram",
    "Ledger",
    "LiveClient",
    "LiveUpload",
    "LiveUser",
    "Mix",
    "People",
    "Person",
    "Recorded",
    "RecordedUser",
    "Recorder",
    "Replayed",
    "ResumeAudit",
    "due_times",
    "recorder_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_HOME[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("locust", "gevent"):
            raise
        raise MissingExtraError("locust", extra="loadtest", what="liverpc.contrib.locust") from None
    return getattr(module, name)


def __dir__() -> list[str]:
    return __all__

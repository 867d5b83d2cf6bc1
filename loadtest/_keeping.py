"""What is kept of a run while it lasts: its folder, Locust's own reports, a recording of the server."""

from __future__ import annotations

import datetime
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
from gevent import subprocess
from locust import stats
from locust.html import get_html_report

from liverpc.contrib.locust.target import devtools_url
from liverpc.errors import ConfigError
from loadtest._folder import new_folder, write
from loadtest._result import Result
from loadtest._server import end_with_parent

__all__ = ["RunFolder"]

_RECORDER_SECONDS = 10.0  # until the recorder has written its end


class RunFolder:
    """The folder of a run; in the web interface, of one run after the other.

    Args:
        environment: Locust's.
        runs: The folder with all runs.
        scenario: Its name.
        commit: Of the checkout.

    Attributes:
        path: Of the folder.

    Raises:
        ConfigError: It cannot be made.
    """

    def __init__(self, environment: Any, runs: Path, *, scenario: str, commit: str) -> None:
        self._environment = environment
        self._runs, self._scenario, self._commit = runs, scenario, commit
        self._recording: Any = None
        self._csv: Any = None
        self._csv_writer: Any = None
        self.path = self._new()
        if not environment.parsed_options.csv_prefix:  # else Locust does it
            self._csv = stats.StatsCSVFileWriter(
                environment, stats.PERCENTILES_TO_REPORT, str(self.path / "locust"), full_history=True
            )
            self._csv_writer = gevent.spawn(self._write_csv)

    @property
    def complete(self) -> bool:
        """Whether there is a whole run in it."""
        return (self.path / "summary.json").exists()

    def renew(self) -> None:
        """Go on in a new folder if there is a run in this one; raises as the class does."""
        if self.complete:
            self.path = self._new()

    def record(self, url: str, token_file: str | None) -> None:
        """Start a recording of the server at ``url``."""
        command = [sys.executable, "-m", "liverpc_devtools.cli", "record", devtools_url(url)]
        command += ["--output", str(self.path / "attach.lrec.gz")]
        if token_file:
            command += ["--token-file", token_file]
        with (self.path / "record.log").open("wb") as file:
            self._recording = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # Ctrl-C is for the load test, which ends it in its time
                preexec_fn=end_with_parent,
            )

    def end_recording(self) -> None:
        """Let the recorder write its end. Harmless when there is none."""
        recording, self._recording = self._recording, None
        if recording is None:
            return
        if recording.poll() is not None:
            sys.stderr.write(f"loadtest: the recording ended early, {self.path}/record.log tells why\n")
        recording.terminate()
        try:
            recording.wait(_RECORDER_SECONDS)
        except subprocess.TimeoutExpired:
            recording.kill()

    def write(self, result: Result) -> bool:
        """Write the run into it, unless it is there; returns whether it is, and says why not."""
        if not self.complete:
            try:
                write(self.path, result)
            except (ConfigError, OSError) as error:
                sys.stderr.write(f"loadtest: the report cannot be written: {error}\n")
                return False
        return True

    def write_locusts(self) -> None:
        """Let Locust finish its own reports."""
        try:
            if self._csv is not None:
                self._csv_writer.kill()
                self._csv.close_files()
            report = get_html_report(self._environment, show_download_link=False)
            (self.path / "locust.html").write_text(report, encoding="utf-8")
        except OSError as error:
            sys.stderr.write(f"loadtest: Locust's own reports cannot be written: {error.strerror}\n")

    def remove(self) -> None:
        """There will be no run in it."""
        if self._csv_writer is not None:
            self._csv_writer.kill()
        shutil.rmtree(self.path, ignore_errors=True)

    def _new(self) -> Path:
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            return new_folder(self._runs, started=started, scenario=self._scenario, commit=self._commit)
        except OSError as error:
            raise ConfigError(f"cannot make a folder in {self._runs}: {error.strerror or error}") from None

    def _write_csv(self) -> None:
        with suppress(OSError):  # the disk is full, which the report will say
            self._csv.stats_writer()

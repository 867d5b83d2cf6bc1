"""Before a run: whether it can be done, with which server, and which process leads."""

from __future__ import annotations

import atexit
import datetime
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import gevent
import msgspec
from gevent import subprocess
from locust import runners, stats
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from liverpc.config import ClientConfig
from liverpc.contrib.locust.attach import Attachment
from liverpc.contrib.locust.client import Attempt, LiveClient
from liverpc.contrib.locust.recorder import recorder_of
from liverpc.contrib.locust.target import devtools_url, live_url
from liverpc.errors import AttachError, ConfigError, MissingExtraError, RpcError
from liverpc.inspector.protocol import shown_url
from liverpc.wire.names import glob
from loadtest._box import box
from loadtest._cli import given_options
from loadtest._cores import pin_generator, split
from loadtest._folder import new_folder, write
from loadtest._gate import BROKEN
from loadtest._lead import CHAOS_MAX, FAULT_SECONDS, Lead, attached
from loadtest._outlets import Outlets, open_outlets
from loadtest._profile import OptionError, Plan, Profile, make_plan, read_profile
from loadtest._report import table
from loadtest._run import ANSWER, ORDER, TELL, Run
from loadtest._scenario import Scenario
from loadtest._server import Demo, end_with_parent

__all__ = ["prepare"]

_READY_SECONDS = 5.0
_SILENCE_SECONDS = 8  # after which a process with users is given up
_INTERRUPTED = 130  # the exit code of shells for it
_RECORDER_SECONDS = 10.0  # until the recorder has written its end
_PATIENCE = 10.0  # seconds for the leading process to end a run by itself after Ctrl-C


def prepare(environment: Any, scenarios: Mapping[str, type[Scenario]]) -> None:
    """Locust's hook ``init``: check what was asked for, before any user starts.

    Ends the process with one sentence on stderr and exit code 1 when it cannot be done, 2 when it makes no sense.
    """
    if isinstance(environment.runner, WorkerRunner):
        Member(environment, scenarios)
        return
    leader = Leader(environment, scenarios)
    try:
        leader.prepare()
    except (ConfigError, AttachError, MissingExtraError) as error:
        leader.close()
        _refuse(str(error), 2 if isinstance(error, OptionError) else 1)
    except OSError as error:  # of the machine: its disk is full, it has no more files or processes for us
        leader.close()
        _refuse(f"cannot begin: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except KeyboardInterrupt:
        leader.close()
        _refuse("interrupted")


class Member:
    """A process that has users and is led by another one."""

    def __init__(self, environment: Any, scenarios: Mapping[str, type[Scenario]]) -> None:
        self._environment = environment
        self._scenarios = scenarios
        environment.events.test_start.add_listener(self._start)
        environment.runner.register_message(ORDER, self._order)
        if environment.parsed_options.pin:
            pin_generator(split())
        # Ctrl-C in a terminal comes to all processes; the leading one ends the run, and with it this one.
        if getattr(environment.parsed_options, "processes", None):
            end_with_parent()
            gevent.signal_handler(signal.SIGINT, lambda: gevent.spawn_later(_PATIENCE, environment.runner.quit))

    def _start(self, **_: Any) -> None:
        plan = msgspec.json.decode(self._environment.parsed_options.live_plan, type=Plan)
        self._environment.liverpc_run = Run(self._environment, plan, self._scenarios[plan.scenario], self._tell)

    def _tell(self, verb: str, data: Any) -> None:
        self._environment.runner.send_message(TELL, {"verb": verb, "data": data})

    def _order(self, msg: Any, **_: Any) -> None:
        gevent.spawn(self._obey, **msg.data)  # the next message does not wait for it

    def _obey(self, number: int, verb: str, data: Any) -> None:
        answer = self._environment.liverpc_run.obey(verb, data)
        self._environment.runner.send_message(ANSWER, {"number": number, "data": answer})


class Leader(Member):
    """The process that leads; without others, it has the users itself."""

    def __init__(self, environment: Any, scenarios: Mapping[str, type[Scenario]]) -> None:
        self._environment = environment
        self._scenarios = scenarios
        self._profile = Profile()
        self._scenario: type[Scenario]
        self._server: Any = None
        self._lead: Lead | None = None
        self._attachment: Attachment | None = None
        self._box = box()
        self._folder: Path | None = None
        self._recording: Any = None
        self._csv: Any = None
        self._csv_writer: Any = None
        self._outlets = Outlets()
        self._interrupted = False
        self._plan: Plan | None = None  # of the run that was prepared and has not started

    def prepare(self) -> None:
        """Check everything, start the server if asked to, and listen to Locust.

        Raises:
            ConfigError, AttachError, MissingExtraError: It cannot be done; the text says why.
        """
        environment, runner, given = self._environment, self._environment.runner, self._environment.parsed_options
        # By itself, Ctrl-C is raised in whichever greenlet happens to run: a user's, or one that swallows it.
        gevent.signal_handler(signal.SIGINT, self._interrupt, gevent.getcurrent())
        if given.profile:
            self._profile = read_profile(given.profile)
        user_class = self._choose()
        self._scenario = user_class.scenario
        given.scenario = self._scenario.name
        environment.user_classes = [user_class]
        self._open_folder()
        self._outlets = open_outlets(environment, self._scenario.name)
        recorder_of(environment)  # before ours, its listeners are called
        self._plan = plan = self._make_plan()
        given.num_users, given.spawn_rate = plan.options.users, plan.options.spawn_rate
        if (
            plan.options.seconds and environment.web_ui is None
        ):  # which begin with the starting signal; this is for users who never get ready
            given.run_time = plan.options.seconds + 1.2 * plan.options.users / plan.options.spawn_rate + _READY_SECONDS
        if given.pin:
            pin_generator(split())  # after the server, which would inherit it
        runners.HEARTBEAT_LIVENESS = _SILENCE_SECONDS  # Locust's three are too few for a machine that is busy
        self._try_out()
        self._check_faults()
        if given.record:
            self._record(plan)
        if isinstance(runner, LocalRunner):
            runner.register_message(ORDER, self._order)
        runner.register_message(ANSWER, self._answered)
        runner.register_message(TELL, lambda msg, **_: self._tell(**msg.data))
        events = environment.events
        events.test_start.add_listener(self._start)
        events.test_stopping.add_listener(self._conclude)
        events.quitting.add_listener(self._quitting)
        events.quit.add_listener(self._quit)

    def _interrupt(self, main: Any) -> None:
        """Ctrl-C ends the run, which is then counted; the second one does not wait for that."""
        gevent.kill(main, SystemExit(_INTERRUPTED) if self._interrupted else KeyboardInterrupt())
        self._interrupted = True

    def _choose(self) -> Any:
        classes = self._environment.user_classes
        if (name := self._environment.parsed_options.scenario) is not None:
            classes = [each for each in self._environment.available_user_classes.values() if each.scenario.name == name]
        if len(classes) != 1:
            raise ConfigError(f"one scenario at a time: choose one with --scenario {'|'.join(self._scenarios)}")
        return classes[0]

    def _make_plan(self) -> Plan:
        environment, scenario = self._environment, self._scenario
        given = given_options(environment.parsed_options, [each.Knobs for each in self._scenarios.values()])
        if environment.parsed_options.serve:
            if self._server is None:
                self._serve()
            environment.host = self._server.url  # the web interface's form may have another one, or none
        elif scenario.needs == "server" or given["freeze"]:
            raise ConfigError(f"the scenario {scenario.name} stops or ends the server: let it start one with --serve")
        elif not environment.host:
            raise ConfigError("--host is missing: --host ws://127.0.0.1:8000 names the server, --serve starts the demo")
        plan = make_plan(
            scenario=scenario.name,
            url=live_url(environment.host),
            processes=1,  # until they have connected
            defaults=scenario.defaults,
            knobs=scenario.Knobs,
            profile=self._profile,
            given=given,
        )
        scenario.check(msgspec.convert(plan.knobs, scenario.Knobs))
        return plan

    def _open_folder(self) -> None:
        """Make the folder of the run, and let Locust write its own reports there, too."""
        given = self._environment.parsed_options
        if not given.run_dir:
            return
        self._folder = self._new_folder()
        given.html_file = given.html_file or str(self._folder / "locust.html")
        if not given.csv_prefix:  # else Locust does it
            self._csv = stats.StatsCSVFileWriter(
                self._environment, stats.PERCENTILES_TO_REPORT, str(self._folder / "locust"), full_history=True
            )
            self._csv_writer = gevent.spawn(self._csv.stats_writer)

    def _new_folder(self) -> Path:
        runs = Path(self._environment.parsed_options.run_dir)
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            return new_folder(runs, started=started, scenario=self._scenario.name, commit=self._box.commit)
        except OSError as error:
            raise ConfigError(f"cannot make a folder in {runs}: {error.strerror or error}") from None

    def _serve(self) -> None:
        """Start the demo for the run."""
        if self._environment.host:
            raise ConfigError("--serve starts a server of its own: leave out --host")
        folder = self._folder or Path(tempfile.mkdtemp(prefix="liverpc-load-"))
        self._server = Demo(folder / "server.log", cores=split() if self._environment.parsed_options.pin else None)
        if self._folder is None:
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            self._server.start()
        except ConfigError:  # which names the log
            atexit.unregister(shutil.rmtree)
            raise

    def _record(self, plan: Plan) -> None:
        """Start a recording of the server, which ends with the run."""
        given = self._environment.parsed_options
        if self._folder is None:
            raise ConfigError("--record needs --run-dir: the recording belongs into the folder of the run")
        command = [sys.executable, "-m", "liverpc_devtools.cli", "record", devtools_url(plan.url)]
        command += ["--output", str(self._folder / "attach.lrec.gz")]
        if given.attach_token_file:
            command += ["--token-file", given.attach_token_file]
        with (self._folder / "record.log").open("wb") as log:
            self._recording = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=end_with_parent
            )

    def _check_faults(self) -> None:
        """Whether what shall go wrong on purpose can be made to, and the devtools are there where they are needed."""
        assert self._plan is not None
        plan, scenario = self._plan, self._scenario
        chaos = plan.options.chaos
        if chaos is not None:
            if not scenario.topic:
                raise ConfigError(
                    f"--chaos drops publishes, and the scenario {scenario.name} makes none that are accounted for"
                )
            if not plan.options.seconds or plan.options.seconds + FAULT_SECONDS > CHAOS_MAX:
                raise ConfigError(f"--chaos needs --run-time (-t), of at most {CHAOS_MAX - FAULT_SECONDS:g} s")
            if not glob(chaos.topic)(scenario.topic.format(id=plan.id)):
                raise ConfigError(f"--chaos topic={chaos.topic} spares the topics of the test: use load:*")
        if chaos is not None or scenario.needs:
            self._attachment = attached(plan, scenario, self._environment.parsed_options.attach_token_file)

    def _try_out(self) -> None:
        """Whether the server is there and is what the scenario needs."""
        assert self._plan is not None
        url, scenario = self._plan.url, self._scenario
        attempts: list[Attempt] = []
        client = LiveClient(
            url, config=ClientConfig(max_attempts=1, timeout=5, connect_timeout=5), on_attempt=attempts.append
        )
        try:
            client.open()
        except RpcError:
            raise ConfigError(f"cannot connect to {shown_url(url)}: {attempts[-1].reason}") from None
        try:
            if scenario.calls_demo:
                client.call("load/echo", 1)
        except RpcError as error:
            raise ConfigError(
                f"{shown_url(url)} does not answer load/echo ({error}); the load tests drive `liverpc demo --users 0`"
            ) from None
        finally:
            client.close()

    # -- Locust's events

    def _start(self, **_: Any) -> None:
        environment = self._environment
        if self._lead is not None:  # another run, in the web interface
            self._lead.close()
            if self._folder is not None:
                self._folder = self._new_folder()
        # Whoever uses the web interface has said more in its form.
        plan = self._make_plan() if environment.web_ui is not None else self._plan
        assert plan is not None
        plan = msgspec.structs.replace(plan, processes=max(self._members(), 1))
        environment.parsed_options.live_plan = msgspec.json.encode(plan).decode()
        environment.liverpc_run = run = Run(environment, plan, self._scenario, self._tell)
        self._outlets.begin()
        self._lead = Lead(
            run,
            server=self._server,
            attachment=self._attachment,
            box=self._box,
            outlets=self._outlets,
            members=self._members,
        )
        self._attachment = None

    def _conclude(self, **_: Any) -> None:
        if self._lead is not None:  # the web interface may be left without a test
            self._lead.conclude()
            self._environment.process_exit_code = self._written()

    def _quitting(self, **_: Any) -> None:
        self._conclude()
        if self._lead is not None:
            self._lead.close()
        self.close()

    def _written(self) -> int:
        """The exit code, once everything is in the folder."""
        assert self._lead is not None
        result = self._lead.result
        if result is None:
            return BROKEN
        if self._folder is not None and not (self._folder / "summary.json").exists():
            try:
                write(self._folder, result)
            except (ConfigError, OSError) as error:
                sys.stderr.write(f"loadtest: the report cannot be written: {error}\n")
                return BROKEN
        return result.exit_code

    def close(self) -> None:
        """End what was started for the run. Harmless when done already."""
        self._outlets.close()
        if self._recording is not None:
            self._recording.terminate()
            try:
                self._recording.wait(_RECORDER_SECONDS)
            except subprocess.TimeoutExpired:
                self._recording.kill()
        if self._server is not None:
            self._server.terminate()

    def _quit(self, **_: Any) -> None:
        if self._csv is not None:
            self._csv_writer.kill()
            self._csv.close_files()
        result = self._lead.result if self._lead is not None else None
        if result is not None:
            sys.stdout.write(table(result) + "\n")
            if self._folder is not None:
                sys.stdout.write(f"everything about it is in {self._folder}\n")
            sys.stdout.flush()

    def _tell(self, verb: str, data: Any) -> None:
        if self._lead is not None:
            self._lead.hear(verb, data)

    def _answered(self, msg: Any, **_: Any) -> None:
        if self._lead is not None:
            self._lead.orders.answered(**msg.data)

    def _members(self) -> int:
        runner = self._environment.runner
        return runner.worker_count if isinstance(runner, MasterRunner) else 1


def _refuse(sentence: str, code: int = 1) -> NoReturn:
    sys.stderr.write(f"loadtest: {sentence}\n")
    sys.exit(code)

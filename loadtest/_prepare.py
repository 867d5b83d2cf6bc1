"""Before a run: whether it can be done, with which server, and which process leads."""

from __future__ import annotations

import atexit
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import gevent
import msgspec
from locust import runners
from locust.exception import StopTest
from locust.runners import LocalRunner, MasterRunner, WorkerRunner

from liverpc.contrib.locust.attach import Attachment
from liverpc.contrib.locust.recorder import recorder_of
from liverpc.contrib.locust.target import devtools_url, live_url
from liverpc.errors import AttachError, ConfigError, MissingExtraError
from liverpc.inspector.protocol import find_token, shown_url
from loadtest._box import box
from loadtest._cli import given_options
from loadtest._cores import pin_generator, split
from loadtest._gate import BROKEN
from loadtest._keeping import RunFolder
from loadtest._lead import Lead
from loadtest._outlets import Outlets, open_outlets
from loadtest._profile import OptionError, Plan, Profile, make_plan, read_profile
from loadtest._reach import attached, check_faults, check_files, try_out
from loadtest._report import table
from loadtest._run import ANSWER, ORDER, TELL, Run, node_of
from loadtest._scenario import Scenario
from loadtest._server import Demo, end_with_parent

__all__ = ["prepare"]

log = logging.getLogger("loadtest")

_BESIDES_SECONDS = 60.0  # of a run, for what is done before and after the users work
_SILENCE_SECONDS = 8  # after which a process with users is given up
_INTERRUPTED = 130  # the exit code of shells for it
_PATIENCE = 30.0  # seconds for the leading process to end a run by itself after Ctrl-C
_USAGE = 2


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
        leader.discard()
        _refuse(str(error), _code(error))
    except OSError as error:  # of the machine: its disk is full, it has no more files or processes for us
        leader.discard()
        _refuse(f"cannot begin: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except KeyboardInterrupt:
        leader.discard()
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
        run = self._take_part(plan, self._scenarios[plan.scenario])
        if run.node not in plan.nodes:
            run.broken("a process of the load generator came after the run had begun")

    def _take_part(self, plan: Plan, scenario: type[Scenario]) -> Run:
        before: Run | None = getattr(self._environment, "liverpc_run", None)  # in the web interface
        if before is not None:
            before.close()
        self._environment.liverpc_run = run = Run(self._environment, plan, scenario, self._tell)
        return run

    def _tell(self, run: str, verb: str, data: Any) -> None:
        self._environment.runner.send_message(TELL, {"run": run, "verb": verb, "data": data})

    def _order(self, msg: Any, **_: Any) -> None:
        gevent.spawn(self._obey, **msg.data)  # the next message does not wait for it

    def _obey(self, number: int, verb: str, data: Any) -> None:
        run, answer = self._environment.liverpc_run, None
        try:
            answer = run.obey(verb, data)
        except Exception:
            log.exception("%r failed", verb)
            run.broken(f"{verb!r} failed in a process of the load generator, its log tells why")
        self._environment.runner.send_message(ANSWER, {"number": number, "data": answer})


class Leader(Member):
    """The process that leads; without others, it has the users itself."""

    def __init__(self, environment: Any, scenarios: Mapping[str, type[Scenario]]) -> None:
        self._environment = environment
        self._scenarios = scenarios
        self._scenario: type[Scenario]
        self._server: Any = None
        self._lead: Lead | None = None
        self._attachment: Attachment | None = None
        self._box = box()
        self._folder: RunFolder | None = None
        self._outlets = Outlets()
        self._interrupted = False
        self._plan: Plan | None = None  # as the command line has it

    def prepare(self) -> None:
        """Check everything, start the server if asked to, and listen to Locust.

        Raises:
            ConfigError, AttachError, MissingExtraError: It cannot be done; the text says why.
        """
        environment, runner, given = self._environment, self._environment.runner, self._environment.parsed_options
        logging.getLogger("locust.stats_logger").setLevel(given.loglevel.upper())  # by itself, it is never quiet
        # By itself, Ctrl-C is raised in whichever greenlet happens to run: a user's, or one that swallows it.
        gevent.signal_handler(signal.SIGINT, self._interrupt, gevent.getcurrent())
        if environment.web_ui is None:
            environment.process_exit_code = BROKEN  # until there is a verdict
        user_class = self._choose()
        self._scenario = user_class.scenario
        given.scenario = self._scenario.name
        environment.user_classes = [user_class]
        if given.run_dir:
            self._folder = RunFolder(
                environment, Path(given.run_dir), scenario=self._scenario.name, commit=self._box.commit
            )
        elif given.record:
            raise OptionError("--record needs --run-dir: the recording belongs into the folder of the run")
        self._outlets = open_outlets(environment, self._scenario.name)
        recorder_of(environment)  # before ours, its listeners are called
        self._plan = plan = self._make_plan()
        given.num_users, given.spawn_rate = plan.options.users, plan.options.spawn_rate
        if plan.options.seconds and environment.web_ui is None:
            # The run ends itself; this is for one that cannot.
            given.run_time = plan.options.seconds + plan.options.ready_seconds + _BESIDES_SECONDS
        if given.pin:
            pin_generator(split())  # after the server, which would inherit it
        runners.HEARTBEAT_LIVENESS = _SILENCE_SECONDS  # Locust's three are too few for a machine that is busy
        if given.record and self._folder is not None:
            self._folder.record(plan.url, given.attach_token_file)
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
            raise OptionError(f"one scenario at a time: choose one with --scenario {'|'.join(self._scenarios)}")
        return classes[0]

    def _make_plan(self) -> Plan:
        """What the run shall be, with a server that can be driven so, and a session where its devtools are needed."""
        environment, scenario = self._environment, self._scenario
        name = environment.parsed_options.profile
        profile = read_profile(name) if name else Profile()
        profile.check(self._scenarios)
        given = given_options(environment.parsed_options, [each.Knobs for each in self._scenarios.values()])
        if environment.parsed_options.serve:
            self._serve()
            environment.host = self._server.url  # the web interface's form may have another one, or none
        elif scenario.needs == "server" or given["freeze"]:
            raise ConfigError(f"the scenario {scenario.name} stops or ends the server: let it start one with --serve")
        elif not environment.host:
            raise ConfigError("--host is missing: --host ws://127.0.0.1:8000 names the server, --serve starts the demo")
        plan = make_plan(
            scenario=scenario.name,
            url=live_url(environment.host),
            defaults=scenario.defaults,
            knobs=scenario.Knobs,
            profile=profile,
            given=given,
        )
        scenario.check(msgspec.convert(plan.knobs, scenario.Knobs))
        processes = environment.parsed_options.expect_workers if isinstance(environment.runner, MasterRunner) else 1
        if plan.options.users < processes:
            raise OptionError(f"{plan.options.users} users are fewer than the {processes} processes to have them")
        if (token_file := environment.parsed_options.attach_token_file) is not None:
            find_token(devtools_url(plan.url), file=token_file)  # who is only looked at with it is looked at later
        try_out(plan, scenario)
        check_files(plan.options.users, environment.parsed_options.processes, environment.runner)
        check_faults(plan, scenario)
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None
        if plan.options.chaos is not None or scenario.needs:
            self._attachment = attached(plan, scenario, environment.parsed_options.attach_token_file)
        return plan

    def _serve(self) -> None:
        """Start the demo for the run, unless it runs."""
        if self._server is not None:
            self._server.start()
            return
        if self._environment.host:
            raise OptionError("--serve starts a server of its own: leave out --host")
        folder = self._folder.path if self._folder else Path(tempfile.mkdtemp(prefix="liverpc-load-"))
        self._server = Demo(folder / "server.log", cores=split() if self._environment.parsed_options.pin else None)
        if self._folder is None:
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            self._server.start()
        except ConfigError:  # which names the log
            atexit.unregister(shutil.rmtree)
            raise

    # -- Locust's events

    def _start(self, **_: Any) -> None:
        environment, plan = self._environment, self._plan
        if environment.web_ui is not None:
            plan = self._asked_for()
        assert plan is not None
        plan = msgspec.structs.replace(plan, nodes=self._nodes())
        environment.parsed_options.live_plan = msgspec.json.encode(plan).decode()
        run = self._take_part(plan, self._scenario)
        self._outlets.begin()
        self._lead = Lead(
            run,
            server=self._server,
            attachment=self._attachment,
            box=self._box,
            outlets=self._outlets,
            members=lambda: len(self._nodes()),
        )
        self._attachment = None

    def _asked_for(self) -> Plan:
        """What the form of the web interface says, which is looked at as the command line is; the last run is over.

        Raises:
            StopTest: It cannot be done, so that no user starts. Locust logs the text.
        """
        if self._lead is not None:
            self._lead.close()
            self._lead = None
        try:
            plan = self._make_plan()
            if self._folder is not None:
                self._folder.renew()
        except (ConfigError, AttachError) as error:
            self._environment.process_exit_code = _code(error)
            raise StopTest(str(error)) from None
        return plan

    def _conclude(self, **_: Any) -> None:
        if self._lead is not None:  # the web interface may be left without a test
            self._lead.conclude()
            self._environment.process_exit_code = self._written()
            if self._environment.web_ui is None:  # Locust's report names the host, whose query may hold a secret
                self._environment.host = shown_url(self._environment.host)

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
        if self._folder is not None and not self._folder.write(result):
            return BROKEN
        return result.exit_code

    def discard(self) -> None:
        """There will be no run, and no folder of it unless there is a server's log in it."""
        self.close()
        if self._folder is not None and self._server is None:
            self._folder.remove()

    def close(self) -> None:
        """End what was started for the run. Harmless when done already."""
        self._outlets.close()
        if self._folder is not None:
            self._folder.end_recording()
        if self._server is not None:
            self._server.terminate()

    def _quit(self, **_: Any) -> None:
        if self._folder is not None:
            self._folder.write_locusts()
        result = self._lead.result if self._lead is not None else None
        if result is not None:
            sys.stdout.write(table(result) + "\n")
            if self._folder is not None:
                sys.stdout.write(f"everything about it is in {self._folder.path}\n")
            sys.stdout.flush()

    def _tell(self, run: str, verb: str, data: Any) -> None:
        if self._lead is not None and self._lead.plan.id == run:  # else it is the last word of the run before
            self._lead.hear(verb, data)

    def _answered(self, msg: Any, **_: Any) -> None:
        if self._lead is not None:
            self._lead.orders.answered(**msg.data)

    def _nodes(self) -> list[str]:
        """The processes with users, as far as they are there."""
        runner = self._environment.runner
        if not isinstance(runner, MasterRunner):
            return [node_of(runner)]
        return [each.id for each in (*runner.clients.ready, *runner.clients.spawning, *runner.clients.running)]


def _code(error: Exception) -> int:
    return _USAGE if isinstance(error, OptionError) else BROKEN


def _refuse(sentence: str, code: int = BROKEN) -> NoReturn:
    sys.stderr.write(f"loadtest: {sentence}\n")
    sys.exit(code)

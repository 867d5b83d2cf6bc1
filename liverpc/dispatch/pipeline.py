"""What happens to a call, in fixed order:

middleware → guards → ``before_execute`` → class of service → rate limit → validation → access → idempotency → lock →
breaker → handler → reply.

A stream's path goes through the same steps up to the rate limit, and then the subscribe plan; that of an upload
through all of them, in a task of its own (``dispatch.uploads``). How a path is answered is decided once, when the
server starts: the shortest way that has all steps its declaration and the server ask for. A plain function in whose
way nothing waits is answered without a task; what others go through in theirs stands in ``dispatch.steps``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from liverpc.declare.bytes import too_large
from liverpc.declare.context import Context, Services
from liverpc.declare.hooks import Hooks
from liverpc.declare.inroom import InRoom, RoomContext
from liverpc.declare.middleware import Middleware
from liverpc.declare.registry import Entry, Kind, Registry
from liverpc.declare.replies import REPLY_ENVELOPE, BatchReplies, BatchSlot, Slot, answer, check_size
from liverpc.dispatch.outcome import Outcomes
from liverpc.dispatch.policed import policed
from liverpc.dispatch.steps import Steps
from liverpc.dispatch.traced import TracedAtOnce
from liverpc.dispatch.unanswered import DEEP, TOO_MANY, nothing_there, wrong_kind
from liverpc.errors import ErrorCode, LiveError
from liverpc.hub.connection import Connection
from liverpc.hub.tasks import EXITS, passes
from liverpc.streams.opening import Opening
from liverpc.streams.subscribe import Streams
from liverpc.telemetry import CAUSE, INVALID_PATH, UNKNOWN_PATH, Telemetry, Trace
from liverpc.wire.binary import BinaryCall
from liverpc.wire.codec import encode, json_depth_exceeds, ok_members, reply_frame
from liverpc.wire.frames import BATCH_MAX, CallFrame

__all__ = ["Admit", "Pipeline", "Runner"]

Waiting = Coroutine[Any, Any, None] | None  # what is left of a guard
Runner = Callable[[Connection, CallFrame, Slot | None], None]
Admit = Callable[[Context[Any], CallFrame], None]


class Pipeline:
    """Answers the calls of a server's connections."""

    def __init__(
        self,
        registry: Registry,
        services: Services,
        streams: Streams,
        telemetry: Telemetry,
        *,
        hooks: Hooks,
        middlewares: Sequence[Middleware] = (),
    ) -> None:
        self._services = services
        self._now = services.hub.monotonic
        self._counters = telemetry.counters
        self._tracing = telemetry.tracing
        self.outcomes = Outcomes(telemetry, self._now)
        self._depth = services.hub.limits.depth
        self._largest = services.hub.limits.reply_bytes - REPLY_ENVELOPE
        self.steps = Steps(streams, hooks, middlewares)
        self._entries = registry.paths
        self.called: dict[Any, Entry] = dict(registry.paths)  # what calls of a path are told and counted as
        self.runners: dict[Any, Runner] = {path: self.runner(entry) for path, entry in registry.paths.items()}

    def call(self, connection: Connection, frame: CallFrame, slot: Slot | None = None) -> None:
        """Begin a call; whatever comes of it is sent to the connection. Never raises.

        Calls of one connection run concurrently and are answered as they are done. A plain function runs now;
        an async one may start a turn later.
        """
        run = self.runners.get(frame.rpc)
        if run is not None:
            run(connection, frame, slot)
        else:
            self.refuse(connection, frame, nothing_there(frame), slot)

    def binary(self, connection: Connection, frame: BinaryCall) -> None:
        """Begin a call that came with bytes, likewise."""
        entry = self.entry(frame, "binary")
        if isinstance(entry, LiveError):
            self.refuse(connection, frame, entry)
        else:
            self.runners[frame.rpc](connection, frame, None)

    def entry(self, frame: CallFrame, kind: Kind) -> Entry | LiveError:
        """What answers on a path to messages of this kind, or why nothing does."""
        if frame.rpc is UNSET:
            return LiveError(ErrorCode.INVALID_REQUEST, "the header names no path: rpc is a string such as files/store")
        entry = self._entries.get(frame.rpc)
        if entry is None:
            return nothing_there(frame)
        return entry if entry.kind == kind else wrong_kind(entry)

    def encoded(self, result: Any) -> bytes:
        """A result as JSON.

        Raises:
            LiveError: ``PAYLOAD_TOO_LARGE``: clients do not take so much.
            TypeError: It has no JSON form.
        """
        encoded = encode(result)
        if len(encoded) > self._largest:
            check_size(encoded, self._largest)
        return encoded

    def batch(self, connection: Connection, calls: Sequence[CallFrame], *, sequential: bool) -> None:
        """Begin several calls that are answered together, when the last one is done.

        Args:
            connection: The caller.
            calls: With more than ``BATCH_MAX`` none of them runs.
            sequential: Each begins when the one before was answered, be it with an error.
        """
        if len(calls) > BATCH_MAX:
            self.refuse_batch(connection, calls, TOO_MANY)
        elif sequential and calls:
            waiting = deque(enumerate(calls))

            def proceed() -> None:
                if not connection.closed:
                    position, call = waiting.popleft()
                    self.call(connection, call, BatchSlot(replies, position))

            # Not within the answer of the call before.
            replies = self._replies(connection, len(calls), then=lambda: connection.calls.call_soon(proceed))
            proceed()
        else:
            replies = self._replies(connection, len(calls))
            for position, call in enumerate(calls):
                if not connection.closed:  # by one of those before
                    self.call(connection, call, BatchSlot(replies, position))

    def refuse(
        self,
        connection: Connection,
        frame: CallFrame,
        error: LiveError,
        slot: Slot | None = None,
        entry: Entry | None = None,
    ) -> None:
        """Answer a call that cannot even begin, if it has an id to answer to; ``entry`` is what it would have run."""
        connection.calls_total += 1
        stray = UNKNOWN_PATH if error.code == ErrorCode.NOT_FOUND else INVALID_PATH
        label = stray if entry is None else entry.path
        call = frame.id if frame.id is not UNSET else None if slot is None else ""
        ctx: Context[Any] = Context(self._services, connection, label, call, slot, self._now())
        self.outcomes.failed(entry, ctx, frame.args, error)

    def failing(self, path: str, run: Runner, refusal: Callable[[Connection], LiveError | None]) -> Runner | None:
        """``run`` behind something that may answer a call with an error, before anything of it has happened.

        Args:
            path: Which ``run`` answers.
            run: What it is now.
            refusal: What the caller's connection gets; None: ``run`` answers.

        Returns:
            None for paths of streams.
        """
        entry = self.called.get(path)
        if entry is not None and entry.is_stream:
            return None

        def run_or_fail(connection: Connection, frame: CallFrame, slot: Slot | None) -> None:
            error = refusal(connection)
            if error is None:
                run(connection, frame, slot)
            else:
                self.refuse(connection, frame, error, slot, entry)

        return run_or_fail

    def refuse_batch(self, connection: Connection, calls: Sequence[CallFrame], error: LiveError) -> None:
        """The same for all calls of a batch; one that has too many gets a single answer, without an id."""
        if len(calls) > BATCH_MAX:
            calls = (CallFrame(),)
        replies = self._replies(connection, len(calls))
        for position, call in enumerate(calls):
            self.refuse(connection, call, error, BatchSlot(replies, position))

    def _replies(self, connection: Connection, size: int, then: Callable[[], object] | None = None) -> BatchReplies:
        largest = self._services.hub.limits.reply_bytes
        return BatchReplies(connection, size, largest=largest, counters=self._counters, then=then)

    # -- the ways to answer on a path

    def runner(self, entry: Entry, admit: Admit | None = None) -> Runner:
        """How calls to an entry are answered; ``admit`` sees each before its guard, in the order of their coming."""
        policies = policed(entry, self._services.policies)
        if policies is not None:
            self.steps.policed[entry] = policies
        may = policies is None or policies.at_once
        if may and entry.direct and self.steps.short and entry.declaration.access is None and admit is None:
            return self._at_once(entry, None if policies is None else policies.before_now)
        return self._in_task(entry, admit or self._admission(entry))

    def _at_once(self, entry: Entry, before: Callable[[Context[Any]], None] | None) -> Runner:
        # The hot path: all it needs is in local variables, and it calls as little as it can.
        services, path, guard = self._services, entry.path, entry.guard
        now, failed, finished = self._now, self.outcomes.failed, self.outcomes.finished
        handler, signature, largest = entry.declaration.handler, entry.declaration.signature, self._largest
        exact, in_task, tracing = signature.exact, self._answering(entry), self._tracing
        traced = TracedAtOnce(services, entry, self.outcomes, in_task, before, self.encoded)

        def run(connection: Connection, frame: CallFrame, slot: Slot | None) -> None:
            if tracing.calls:
                traced(connection, frame, slot)
                return
            connection.calls_total += 1
            call, args = frame.id, frame.args
            ctx: Context[Any] = Context(services, connection, path, None if call is UNSET else call, slot, now())
            try:
                if guard is not None and (waiting := guard.check(ctx)) is not None:
                    connection.calls.start(ctx, in_task(ctx, args, waiting))
                    return
                if before is not None:
                    before(ctx)
                try:
                    arguments = exact(args)
                except Exception:
                    arguments = signature.decode(args)
                # Unpacking costs as much as the rest of the call.
                result = handler(ctx, arguments[0]) if len(arguments) == 1 else handler(ctx, *arguments)
                encoded = encode(result)
                if len(encoded) > largest:
                    check_size(encoded, largest)
            except EXITS:
                raise
            except BaseException as error:  # whatever it is, the caller waits for an answer
                failed(entry, ctx, args, error)
                return
            if slot is not None:
                answer(ctx, ok_members(encoded))
            elif call is not UNSET:
                connection.link.send(reply_frame(call, encoded))
            finished(entry, ctx, args, None, result)

        return run

    def _in_task(self, entry: Entry, admit: Admit | None) -> Runner:
        services, path, now, failed = self._services, entry.path, self._now, self.outcomes.failed
        in_task = self._answering(entry)
        guard = entry.guard if self.steps.short else None  # otherwise it has its place in the task
        kind: type[Context[Any]] = RoomContext if isinstance(entry.declaration, InRoom) else Context
        policies, tracing = self.steps.policed.get(entry), self._tracing
        reads_key = policies is not None and policies.reads_key

        def run(connection: Connection, frame: CallFrame, slot: Slot | None) -> None:
            connection.calls_total += 1
            call, args, waiting = frame.id, frame.args, None
            ctx = kind(services, connection, path, None if call is UNSET else call, slot, now())
            if tracing.calls:
                ctx.trace = Trace(tracing, now, "turn" if guard is None else "guard", ctx.started_at)
            if reads_key:
                ctx.asked = frame
            try:
                if admit is not None:
                    admit(ctx, frame)
                if guard is not None:
                    waiting = guard.check(ctx)
                    if waiting is None and ctx.trace is not None:
                        ctx.trace.enters("turn")
            except EXITS:
                raise
            except BaseException as error:  # as above
                failed(entry, ctx, args, error)
                return
            connection.calls.start(ctx, in_task(ctx, args, waiting))

        return run

    def _admission(self, entry: Entry) -> Admit | None:
        """What comes before the guard; raises a LiveError when the frame is none for this path."""
        declaration: Any = entry.declaration

        def stream(ctx: Context[Any], frame: CallFrame) -> None:
            # Running a loader without its topic, access and subscription would bypass them.
            if frame.stream is not True:
                raise wrong_kind(entry)
            ctx.asked = frame

        def binary(ctx: Context[Any], frame: CallFrame) -> None:
            if not isinstance(frame, BinaryCall):
                raise wrong_kind(entry)
            if len(frame.data) > declaration.max_size:
                raise too_large(entry.path, declaration.max_size)
            if json_depth_exceeds(bytes(frame.args), self._depth - 1):
                raise LiveError(ErrorCode.INVALID_REQUEST, DEEP)
            ctx.data = frame.data

        def upload(ctx: Context[Any], frame: CallFrame) -> None:
            raise wrong_kind(entry)

        kinds = {"rpc": None, "stream": stream, "channel": stream, "binary": binary, "upload": upload}
        return kinds[entry.kind]

    # -- in a task

    def _answering(self, entry: Entry) -> Callable[[Context[Any], msgspec.Raw, Waiting], Coroutine[Any, Any, None]]:
        """What a call's task does: the rest of its guard, all further steps, the answer."""
        (execute, traced), largest = self.steps.of(entry), self._largest
        failed, finished = self.outcomes.failed, self.outcomes.finished

        async def run(ctx: Context[Any], args: msgspec.Raw, waiting: Waiting) -> None:
            if ctx.trace is not None:
                CAUSE.set(ctx.trace)  # for the whole task, whose context is its own
            try:
                if waiting is not None:
                    await waiting
                if ctx.trace is None:
                    result = await execute(ctx, args)
                else:
                    result = await traced(ctx, args)
                    ctx.enters("reply")
                if isinstance(result, Opening):
                    result.answer(largest)
                    result = result.value
                else:
                    encoded = encode(result)
                    if len(encoded) > largest:
                        check_size(encoded, largest)
                    if ctx.slot is not None:
                        answer(ctx, ok_members(encoded))
                    elif ctx.call is not None:
                        ctx.connection.link.send(reply_frame(ctx.call, encoded))
            except BaseException as error:  # as above
                if passes(error, gone=ctx.connection.closed):
                    finished(entry, ctx, args, str(ErrorCode.DISCONNECTED), None)
                    raise
                failed(entry, ctx, args, error)
            else:
                finished(entry, ctx, args, None, result)
            finally:
                ctx.trace = None  # the context of a stream lives as long as that
                ctx.connection.calls.finished(ctx)

        return run

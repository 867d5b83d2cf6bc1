"""Where liverpc answers differently from the recorded server, on purpose. Each difference has its rule.

A difference turns what was recorded into what is expected of us; the comparison itself knows no exceptions.
docs/protocol.md section 9 explains the same differences, by the same names, to people with another client or
server.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.wire.recording import ANY, Expect, Open, Send, Step, slot, with_members

DEPTH = 64
LARGEST = 1 << 20  # UTF-16 code units in a reply that browsers take
STREAMS = {"demo/secretStream"}  # those that some transcript calls as if they were functions


@dataclass(frozen=True)
class Difference:
    """A rule, and what it makes of a recording.

    ``with_on_topic`` is False for a rule of servers without that hook. The recorded server had it, and so has the
    fixture application.
    """

    name: str
    rule: str
    apply: Callable[[list[Step]], list[Step]] = field(repr=False)
    with_on_topic: bool = True


def expected(steps: list[Step], *, with_on_topic: bool = True, but: Difference | None = None) -> list[Step]:
    """What we should do where the recorded server did ``steps``; ``but``: as if that difference were none."""
    for difference in DIFFERENCES:
        if difference is not but and (difference.with_on_topic or not with_on_topic):
            steps = difference.apply(steps)
    return steps


def reply(conn: str, call: str, code: str) -> Expect:
    """The expectation of a failed call."""
    data = {"id": call, "ok": False, "code": code, "error": ANY}
    return Expect(conn, {"topic": "__rpc", "event": call, "data": data})


def with_reply(step: Expect, **members: Any) -> Expect:
    return with_members(step, data={**step.reply, **members})


# -- nothing is null


def nothing_is_null(steps: list[Step]) -> list[Step]:
    return [nulls_for_nothing(step) if isinstance(step, Expect) else step for step in steps]


def nulls_for_nothing(step: Expect) -> Expect:
    answers = step.reply.get("batch")
    if answers is not None:
        return with_reply(step, batch=[{"data": None, **answer} if answer["ok"] else answer for answer in answers])
    if step.reply.get("ok") is True and "data" not in step.reply and "length" not in step.reply:
        return with_reply(step, data=None)
    return step


# -- large results are refused


def large_results_are_refused(steps: list[Step]) -> list[Step]:
    return [
        reply(step.conn, step.reply["id"], "PAYLOAD_TOO_LARGE")
        if isinstance(step, Expect) and step.reply.get("length", 0) > LARGEST
        else step
        for step in steps
    ]


# -- numbers have an epoch


def numbers_have_an_epoch(steps: list[Step]) -> list[Step]:
    return [
        with_reply(step, epoch=ANY) if isinstance(step, Expect) and type(step.reply.get("seq")) is int else step
        for step in steps
    ]


# -- too deep


def depth(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(depth, children), default=0)


def too_deep_is_answered(steps: list[Step]) -> list[Step]:
    result: list[Step] = []
    for step in steps:
        result.append(step)
        if isinstance(step, Send) and depth(step.frame) > DEPTH and "id" in step.frame:
            result.append(reply(step.conn, step.frame["id"], "INVALID_REQUEST"))
    return result


# -- streams are subscribed to


def streams_are_no_calls(steps: list[Step]) -> list[Step]:
    called = {
        (step.conn, step.frame.get("id"))
        for step in steps
        if isinstance(step, Send) and step.frame.get("rpc") in STREAMS and step.frame.get("stream") is not True
    }
    return [
        reply(step.conn, step.reply["id"], "INVALID_REQUEST")
        if isinstance(step, Expect) and (step.conn, step.reply.get("id")) in called
        else step
        for step in steps
    ]


# -- topics are held through streams


def topics_come_with_streams(steps: list[Step]) -> list[Step]:
    topics = {
        (step.conn, answer["id"]): answer["topic"]
        for step in steps
        if isinstance(step, Expect)
        for answer in step.reply.get("batch", [step.reply])
        if "topic" in answer
    }
    held: defaultdict[str, set[str]] = defaultdict(set)
    result: list[Step] = []
    for step in steps:
        if isinstance(step, Send):
            frame = step.frame
            for call in frame.get("batch", [frame]):
                if isinstance(call, dict) and (topic := topics.get((step.conn, call.get("id")))):
                    held[step.conn].add(topic)
            if frame.get("type") == "unsubscribe":
                held[step.conn].discard(frame["topic"])
        if isinstance(step, Expect):
            message = step.message
            malformed = message.get("reason") == "INVALID_TOPIC"
            decided = message.get("type") in ("subscribed", "subscribe-denied") and not malformed
            event = slot(message).startswith("an event") and not message["topic"].startswith("__")
            if (decided or event) and message["topic"] not in held[step.conn]:
                continue
        result.append(step)
    return result


# -- nothing is lost while a stream loads


def loading_loses_nothing(steps: list[Step]) -> list[Step]:
    result = list(steps)
    for answer in [step for step in steps if isinstance(step, Expect) and "topic" in step.reply]:
        begin = next(
            i
            for i, step in enumerate(result)
            if isinstance(step, Send) and step.conn == answer.conn and step.frame.get("id") == answer.reply["id"]
        )
        end = result.index(answer)
        about = slot({"topic": answer.reply["topic"], "event": ""})
        early = [
            step
            for step in result[begin:end]
            if isinstance(step, Expect) and step.conn == answer.conn and slot(step.message) == about
        ]
        rest = [step for step in result[begin : end + 1] if step not in early]
        result[begin : end + 1] = [*rest, *early]
    return result


# -- refused connections are not welcomed


def refusals_are_not_welcomed(steps: list[Step]) -> list[Step]:
    refused = {step.conn for step in steps if isinstance(step, Expect) and step.message.get("close") == 4401}
    return [
        step
        for step in steps
        if step.conn not in refused or isinstance(step, Open) or (isinstance(step, Expect) and "close" in step.message)
    ]


# -- whole arguments have names


def arguments_have_names(steps: list[Step]) -> list[Step]:
    called = {
        (step.conn, step.frame["id"])
        for step in steps
        if isinstance(step, Send)
        and step.frame.get("rpc") == "demo/validated"
        and not isinstance(step.frame["args"][0], dict)
    }
    return [
        with_reply(step, issues=[{"path": ["form"], "message": ANY}])
        if isinstance(step, Expect) and (step.conn, step.reply.get("id")) in called
        else step
        for step in steps
    ]


# -- newcomers are in the roster


def newcomers_are_in_the_roster(steps: list[Step]) -> list[Step]:
    result: list[Step] = []
    asked: dict[str, set[str]] = {}  # by connection: the calls that are not answered
    for step in steps:
        if isinstance(step, Send):
            calls = [call for call in step.frame.get("batch", [step.frame]) if isinstance(call, dict)]
            wanted = [call["id"] for call in calls if str(call.get("rpc")).endswith("/__presence")]
            asked.setdefault(step.conn, set()).update(wanted)
        elif isinstance(step, Expect):
            if asked.get(step.conn) and step.message.get("event") == "join":
                continue
            answers = step.reply.get("batch", [step.reply])
            asked.setdefault(step.conn, set()).difference_update(answer.get("id") for answer in answers)
        result.append(step)
    return result


# -- cursors are kept and cleared


def cursors_are_cleared(steps: list[Step]) -> list[Step]:
    result: list[Step] = []
    listening: defaultdict[str, dict[str, None]] = defaultdict(dict)  # by topic of the cursors: connections
    moved: dict[tuple[str, str], Any] = {}  # by connection and topic: the key of its cursor
    for step in steps:
        if isinstance(step, Expect) and str(step.message.get("topic")).endswith(":cursors"):
            step = Expect(step.conn, {name: value for name, value in step.message.items() if name != "seq"})
        result.append(step)
        frame = step.frame if isinstance(step, Send) else {}
        topic = str(frame.get("topic"))
        if isinstance(step, Expect):
            for answer in step.reply.get("batch", [step.reply]):
                if str(answer.get("topic")).endswith(":cursors"):
                    listening[answer["topic"]][step.conn] = None
        elif str(frame.get("rpc")).endswith("/__action/moveCursor"):
            row = next(s for s in steps if isinstance(s, Expect) and s.message.get("event") == "update")
            moved[step.conn, row.message["topic"]] = row.message["data"]["key"]
        elif frame.get("type") == "unsubscribe":
            listening[topic].pop(step.conn, None)
            key = moved.pop((step.conn, f"{topic}:cursors"), None)
            gone = {"topic": f"{topic}:cursors", "event": "remove", "data": {"key": key}}
            result += [Expect(conn, gone) for conn in listening[f"{topic}:cursors"] if key is not None]
    return result


# -- limits say when


def limits_say_when(steps: list[Step]) -> list[Step]:
    return [
        with_reply(step, retryAfter=ANY)
        if isinstance(step, Expect) and step.reply.get("code") == "RATE_LIMITED"
        else step
        for step in steps
    ]


DIFFERENCES = (
    Difference(
        "nothing-is-null",
        'A function that returns nothing is answered with "data": null, where the other server leaves data out. '
        "To a client both are no value.",
        nothing_is_null,
    ),
    Difference(
        "large-results-are-refused",
        "A result that would make a reply longer than 1 048 576 UTF-16 code units is answered PAYLOAD_TOO_LARGE. "
        "Browser clients drop longer frames, and the call would end in its timeout.",
        large_results_are_refused,
    ),
    Difference(
        "numbers-have-an-epoch",
        "A reply with seq has an epoch, too, that tells which log the number belongs to. Clients that send it back are "
        "never taken to know what they do not, after a restart for example; others ignore it.",
        numbers_have_an_epoch,
    ),
    Difference(
        "too-deep-is-answered",
        "A call that nests deeper than allowed is answered INVALID_REQUEST when its id can be read. Silence would "
        "let the caller wait for its timeout.",
        too_deep_is_answered,
    ),
    Difference(
        "streams-are-no-calls",
        'A stream\'s path called without "stream": true is answered INVALID_REQUEST. Running its loader would bypass '
        "its access check.",
        streams_are_no_calls,
    ),
    Difference(
        "topics-come-with-streams",
        "Without on_topic, a subscribe frame for a topic that the connection holds through no stream gets no answer "
        "and no events. Granting it would bypass the stream's access check; denying it would flash an error on healthy "
        "streams, whose clients ask for their topics first after a reconnect.",
        topics_come_with_streams,
        with_on_topic=False,
    ),
    Difference(
        "loading-loses-nothing",
        "Events that are published while a stream loads are sent after its reply. Clients listen from the reply on, "
        "so earlier ones would be lost.",
        loading_loses_nothing,
    ),
    Difference(
        "refusals-are-not-welcomed",
        "A connection that is accepted only to be closed with 4401, 4403 or 4429 gets no welcome frame first.",
        refusals_are_not_welcomed,
    ),
    Difference(
        "arguments-have-names",
        "An argument that is wrong as a whole, such as null for an object, is reported at the name of its parameter. "
        "Faults inside the only argument are located from there on, as the other server does.",
        arguments_have_names,
    ),
    Difference(
        "newcomers-are-in-the-roster",
        "Who asks for a room's data and its presence at the same time gets no join of its own, but is in the roster. "
        "The other server sends the join before the roster, when its client does not listen yet.",
        newcomers_are_in_the_roster,
    ),
    Difference(
        "cursors-are-cleared",
        "A cursor is removed when its owner leaves. The other server leaves it there. Of the positions that a full "
        "socket cannot take only the last is kept, so they have no number.",
        cursors_are_cleared,
    ),
    Difference(
        "limits-say-when",
        "Whatever refuses with RATE_LIMITED says after how long another try makes sense. The other server does not for "
        "limits of single functions.",
        limits_say_when,
    ),
)

"""The filter language."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liverpc.inspector.matching import Matcher
from liverpc.inspector.protocol import CallEvent, ConnectionEvent, Event, PublishEvent
from liverpc_devtools.core.fields import EventSubject, RowSubject
from liverpc_devtools.core.filter import FilterError, parse

PUB = PublishEvent(
    at=1.0, topic="board:12", event="updated", size=2_500, receivers=220, seq=7, data={"author": {"id": 3}, "n": [1, 2]}
)
CALL = CallEvent(
    at=2.0,
    path="chat/send",
    connection="c8f",
    ms=132.0,
    ok=False,
    code="RATE_LIMITED",
    user="al",
    args={"text": "hi", "token": "[REDACTED]"},
    steps=[("guard", 0.0, 0.5), ("handler", 0.5, 131.0)],
)
CONN = ConnectionEvent(at=3.0, connection="a02", what="close", user="bo", code=1013)


def passing(text: str) -> str:
    """Which of the three events pass."""
    wanted = parse(text)
    events: dict[str, Event] = {"p": PUB, "c": CALL, "n": CONN}
    return "".join(name for name, event in events.items() if wanted.matches(EventSubject(event)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "pcn"),
        ("kind:rpc ms>100ms -path:report/*", "c"),
        ("topic:board:* (event:created or event:updated)", "p"),
        ("topic:board:12", "p"),
        ("topic:board", ""),
        ("topic:BOARD:12", ""),
        ("data.author.id:3", "p"),
        ("data.author.id>2 data.author.id<=3", "p"),
        ("data.author.id!=3", "cn"),
        ("data.n.1:2", "p"),
        ("data.n:2", "p"),
        ("args.0:hi", "c"),
        ("args.text:h*", "c"),
        ("args.token:[REDACTED]", "c"),
        ("/rate_.*ed/", "c"),
        ("code~^rate", "c"),
        ("code:rate_limited", "c"),
        ('code:""', "p"),
        ("is:error", "c"),
        ("is:slow", "c"),
        ("is:dropped", ""),
        ("not is:error", "pn"),
        ("ok:false", "c"),
        ("ok:true", ""),
        ("user=al or user=bo", "cn"),
        ("user!=al", "pn"),
        ("bytes>=2.5KB", "p"),
        ("bytes>2.5KB", ""),
        ("subs>100", "p"),
        ("ms>0.1s", "c"),
        ("ms>1s", ""),
        ("wait<1ms", "c"),
        ("foo:bar", ""),
        ("board:12", "p"),
        ("LIMITED al", "c"),
        ('"author"', "p"),
        ("code>1000", "n"),
        ("kind:pub || kind:conn", "pn"),
        ("kind:rpc && is:slow", "c"),
        ("-(kind:pub or kind:rpc)", "n"),
        ("!kind:pub", "cn"),
        ("kind:p*", "p"),
        ("event:close", "n"),
    ],
)
def test_what_passes(text: str, expected: str) -> None:
    assert passing(text) == expected
    assert passing(str(parse(text))) == expected


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("(kind:rpc", 0, "not closed"),
        ("kind:rpc)", 8, "closes nothing"),
        ("a or", 4, "missing at the end"),
        ("or a", 0, "missing before"),
        ("a or or b", 5, "missing before"),
        ("ms>fast", 3, "needs a number"),
        ("a ms>", 5, "value is missing"),
        ("is:red", 3, "is: knows error, slow"),
        ("/abc", 0, "not closed"),
        ("/(a+)+/", 0, "too slow"),
        ("path~(", 5, "missing"),
        ('"abc', 0, "not closed"),
        ("x" * 1001, 1000, "longer than 1,000"),
        ("(" * 33 + "a", 32, "within each other"),
        ("()", 1, "missing before this )"),
        ("-", 1, "missing at the end"),
    ],
)
def test_an_error_says_where_and_what(text: str, column: int, part: str) -> None:
    with pytest.raises(FilterError) as caught:
        parse(text)
    assert (caught.value.column, part in caught.value.message) == (column, True), caught.value


def test_the_longest_and_deepest_filters_are_understood() -> None:
    assert parse("x" * 1000)
    assert parse("(" * 31 + "a" + ")" * 31).matches(RowSubject(None, {}, lambda: "A"))


def test_a_table_has_fields_of_its_own() -> None:
    row = RowSubject(7, {"held": lambda n: n}, lambda: "")
    assert parse("held>6", ["held"]).matches(row)
    assert not parse("held>6").matches(row)  # there it is a text to look for
    assert parse("held>6").textual


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+b", r"(a|aa)+b", r"(a?){20}", r"a*a*a*b", r"(a)\1", "a?" * 9, "(aa|a)" * 9, "x" * 201, r"(", "[b-a]"],
)
def test_patterns_that_some_text_keeps_busy_are_refused(pattern: str) -> None:
    with pytest.raises(FilterError):
        parse(f"path~{pattern}" if pattern == "(" else f"/{pattern}/")


def test_an_accepted_pattern_is_done_soon_whatever_the_text() -> None:
    wanted = parse(r"/a.*a.*b/")
    began = time.perf_counter()
    assert not wanted.matches(RowSubject(None, {}, lambda: "a" * 100_000))
    assert time.perf_counter() - began < 5  # on all of the text it would take years


@pytest.mark.parametrize(
    ("text", "kind", "exact"),
    [
        ("topic:board:*", ["pub"], True),
        ("topic:board:* event:created", ["pub"], True),
        ("path:chat/* ok:false", ["rpc"], True),
        ("ms>=100", ["rpc"], True),
        ("ms>100", ["rpc"], False),
        ("is:error or kind:conn", ["rpc", "conn"], True),
        ("topic:a topic:b*", ["pub"], False),
        ("/x/", [], False),
        ("-kind:pub", ["rpc", "conn"], True),
        ("topic:a or path:b", ["pub", "rpc"], True),
        ("data.x:1 kind:pub", ["pub"], False),
    ],
)
def test_what_the_server_does_of_a_filter(text: str, kind: list[str], exact: bool) -> None:
    wanted = parse(text)
    assert (wanted.capture().kind, wanted.exact) == (kind, exact)


def test_what_stays_here_is_named() -> None:
    assert parse("topic:board:* /x y/ data.a:1").rest == ["/x y/", "data.a:1"]
    assert parse("kind:rpc").rest == []


# -- laws

names = st.sampled_from(["board:1", "board:12", "chat:x", "", "a*b", "chat/send", "report/x", "open"])
words = st.sampled_from(
    ["a", "board", "12", "chat", "*", "board:*", "*12", "OR", "or", "-x", '"', "\\", "a b", "/", ")"]
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        PublishEvent,
        at=st.just(1.0),
        topic=names,
        event=names,
        size=st.integers(0, 10),
        receivers=st.integers(0, 3),
        seq=st.sampled_from([None, 1, 2]),
        dropped=st.booleans(),
        data=st.sampled_from([msgspec.UNSET, {"a": 1}, "chat", None]),
        fault=st.sampled_from(["", "delay#3"]),
    ),
    st.builds(
        CallEvent,
        at=st.just(1.0),
        path=names,
        connection=st.just("c"),
        ms=st.sampled_from([0.0, 50.0, 100.0, 2000.0]),
        ok=st.booleans(),
        code=st.sampled_from(["", "a"]),
        carries=st.sampled_from(["", "upload"]),
    ),
    st.builds(ConnectionEvent, at=st.just(1.0), connection=st.just("c"), what=st.sampled_from(["open", "close"])),
)


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def terms() -> st.SearchStrategy[str]:
    values = st.one_of(
        names.map(quoted), words.map(quoted), st.sampled_from(["board:*", "*", "a", "chat/*", "open", "*1*"])
    )
    named = st.builds(
        "{}{}{}".format,
        st.sampled_from(["topic", "event", "path", "code", "fault", "data", "data.a", "user"]),
        st.sampled_from([":", "=", "!="]),
        values,
    )
    fixed = [f"kind:{each}" for each in ("pub", "rpc", "conn", "upload", "*", "p*", '""')]
    fixed += [f"is:{each}" for each in ("error", "slow", "dropped", "volatile", "fault")]
    fixed += [
        "ok:true",
        "ok:false",
        "ok!=true",
        "ok:*",
        "ok~a",
        'ok:""',
        "ms>50",
        "ms>=100",
        "ms<100",
        "ms:50",
        "ms>=-1",
    ]
    fixed += ["/boa?rd/", r"path~/t\/s/", "topic~^b", "bytes>3", "code>0"]
    return st.one_of(named, words.map(quoted), st.sampled_from(fixed))


filters = st.recursive(
    terms(),
    lambda inner: st.one_of(
        st.builds("({} {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("({} or {} {})".format, inner, inner, inner),
        st.builds("-{}".format, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(st.one_of(words, terms()), max_size=6).map(" ".join)))
def test_whatever_is_typed_is_understood_or_refused_with_a_column_in_it(text: str) -> None:
    try:
        wanted = parse(text)
    except FilterError as error:
        assert 0 <= error.column <= len(text)
    else:
        assert str(parse(str(wanted))) == str(wanted)
        assert parse(str(wanted)) == wanted


@settings(max_examples=100, deadline=None)
@given(filters, events)
def test_a_printed_filter_means_the_same(text: str, event: Event) -> None:
    wanted = parse(text)
    again = parse(str(wanted))
    assert again.matches(EventSubject(event)) is wanted.matches(EventSubject(event))
    assert (again.capture(), again.exact) == (wanted.capture(), wanted.exact)


@settings(max_examples=150, deadline=None)
@given(filters, events)
def test_the_server_lets_through_whatever_the_filter_does(text: str, event: Event) -> None:
    wanted = parse(text)
    passes, captured = wanted.matches(EventSubject(event)), Matcher(wanted.capture())(event)
    if passes:
        assert captured
    if wanted.exact:
        assert captured is passes

"""Declarations: what they refuse, and what they still are. Numbers in names are acceptance cases."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Hashable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc import Context, DeclarationError, LiveError, LiveServer, live, public
from liverpc.testing import create_test_context


class Row(msgspec.Struct):
    id: int


class functions_without_ctx:
    @staticmethod
    def annotated(text: str) -> str:
        return text

    @staticmethod
    def misplaced(text: str, ctx: Context[Any]) -> str:
        return text


def make(**functions: Any) -> LiveServer:
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())})


async def test_a_declaration_is_still_its_function() -> None:
    @live
    async def add(ctx: Context[Any], a: int, b: int = 1) -> int:
        """Adds."""
        return a + b

    assert await add(create_test_context(), 1, b=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert add.path == "test_declarations/add"


async def test_annotations_may_name_types_of_the_declaring_function() -> None:
    class Local(msgspec.Struct):
        n: int

    @live
    async def take(ctx: Context[Any], value: Local) -> Local:
        return value

    make(take=take)
    assert take.signature.decode(b'[{"n":1}]') == (Local(1),)
    assert take.result_type is Local


def test_an_unknown_annotation_is_refused_when_the_server_is_made() -> None:
    @live
    def take(ctx: Context[Any], value: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DeclarationError, match=r"(?s)'Missing'.*TYPE_CHECKING"):
        make(take=take)


def test_an_annotation_without_json_form_is_refused_when_the_server_is_made() -> None:
    class Opaque:
        def __init__(self, x: object) -> None: ...

    @live
    def take(ctx: Context[Any], value: set[Opaque] | dict[str, Opaque] | list[Opaque]) -> None: ...

    with pytest.raises(DeclarationError, match="'value'"):
        make(take=take)


class Holder(msgspec.Struct):
    inner: list[Holder] | None
    number: complex


class Caching(msgspec.Struct):
    name: str
    cache: complex | None = None


@pytest.mark.parametrize("kind", [complex, range, list[complex], dict[str, complex], Holder, complex | None])
def test_an_annotation_that_no_json_value_fits_is_refused_when_the_server_is_made(kind: Any) -> None:
    @live
    def take(ctx: Context[Any], value: Any) -> None: ...

    take.handler.__annotations__["value"] = kind
    with pytest.raises(DeclarationError, match=r"'value'.*no JSON value is a (complex|range)"):
        make(take=take)


@pytest.mark.parametrize("kind", [object, Hashable, Sequence, int | None, Row, Caching, msgspec.Raw])
def test_an_annotation_that_some_json_value_fits_is_taken(kind: Any) -> None:
    @live
    def take(ctx: Context[Any], value: Any) -> None: ...

    take.handler.__annotations__["value"] = kind
    make(take=take)


def test_generators_are_refused() -> None:
    async def ticks(ctx: Context[Any]) -> AsyncIterator[int]:
        yield 1

    def lines(ctx: Context[Any]) -> Iterator[int]:
        yield 1

    for fn in (ticks, lines):
        for decorator in (live, live(thread=True), live.stream("x")):
            with pytest.raises(DeclarationError, match=rf"{fn.__name__} .*generator"):
                decorator(fn)


def test_a_stream_without_a_topic_is_refused_with_its_name() -> None:
    async def messages(ctx: Context[Any]) -> list[Row]:
        return []

    without_parentheses: Any = live.stream
    with pytest.raises(DeclarationError, match=r"^demo\.messages is decorated with @live\.stream without a topic"):
        make(messages=without_parentheses(messages))
    with pytest.raises(DeclarationError, match=r"^demo\.rows is live\.stream\('rows'\) without a loader"):
        make(rows=live.stream("rows"))


def test_a_channel_without_a_topic_or_with_a_function_for_one_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"^demo\.notices is live\.channel\(\.\.\.\) without a topic"):
        make(notices=live.channel(item=Row))
    channel: Any = live.channel
    with pytest.raises(DeclarationError, match=r"fixed name, not <function"):
        channel(lambda ctx: "x", item=Row)
    with pytest.raises(TypeError, match="item"):
        channel(lambda ctx: "x")


def test_a_decorator_kept_under_a_private_name_is_no_mistake() -> None:
    listing = live.channel(item=Row)

    @listing
    def rows(ctx: Context[Any], room: str) -> str:
        return f"rows:{room}"

    make(rows=rows, _listing=listing)


def test_a_module_that_declares_nothing_is_refused() -> None:
    import asyncio

    with pytest.raises(DeclarationError, match="module asyncio declares nothing with @live"):
        LiveServer([asyncio])
    with pytest.raises(DeclarationError, match="module a declares nothing with @live"):
        LiveServer({"a": SimpleNamespace(f=len)})
    with pytest.raises(DeclarationError, match="module demo declares nothing with @live"):
        make(_private=live(path="a/b")(lambda ctx: None))
    assert LiveServer(()).registry.entries == LiveServer({}).registry.entries == []


def test_a_module_listed_twice_is_told_so() -> None:
    import sys

    module = sys.modules[__name__]
    with pytest.raises(DeclarationError, match="'test_declarations/fixed' already: its module is listed twice"):
        LiveServer([module, module])


def test_a_function_without_ctx_is_refused_and_the_error_names_the_place() -> None:
    with pytest.raises(DeclarationError, match=r"test_declarations\.py, line \d+"):

        @live  # type: ignore[arg-type]  # wrong on purpose
        def nothing() -> None: ...


@pytest.mark.parametrize(
    "fn",
    [
        lambda text: text,
        functions_without_ctx.annotated,
        functions_without_ctx.misplaced,
    ],
)
def test_a_forgotten_or_misplaced_ctx_is_refused_when_the_server_is_made(fn: Any) -> None:
    with pytest.raises(DeclarationError, match="ctx comes first"):
        make(f=live(path="a/b")(fn))


def test_a_keyword_only_parameter_without_default_is_refused() -> None:
    with pytest.raises(DeclarationError, match="'b'"):

        @live
        def keyword(ctx: Context[Any], *, b: int) -> None: ...


def test_thread_is_for_plain_functions() -> None:
    with pytest.raises(DeclarationError, match="thread"):

        @live(thread=True)
        async def waits(ctx: Context[Any]) -> None: ...


@pytest.mark.parametrize("path", ["one", "a b/c", "/a/b", "a//b", ""])
def test_a_malformed_path_is_refused(path: str) -> None:
    with pytest.raises(DeclarationError, match="path"):
        live(path=path)(lambda ctx: None)


async def _async_topic(ctx: Context[Any]) -> str:
    return "x"


@pytest.mark.parametrize(
    ("topic", "text"),
    [
        (_async_topic, "async"),
        ("__x", "reserved"),
        ("", "empty"),
        ("x" * 257, "257"),
        ('a"b', "quote"),
        ("room:{nope}", "'nope'"),
        ("room:{room.id}", "'room.id'"),
        ("room:{room!r}", "plain"),
        ("room:{room", "template"),
        (5, "string or a function"),
    ],
)
def test_39_a_topic_that_cannot_work_is_refused_at_declaration(topic: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):

        @live.stream(topic)
        async def rows(ctx: Context[Any], room: str) -> list[Row]:
            return []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"merge": "crdt"}, "crdt"),
        ({"key": ""}, "key"),
        ({"max": -1}, "max"),
        ({"merge": "set", "prepend": True}, "prepend"),
        ({"access": "admins"}, "access"),
        ({"on_subscribe": 1}, "on_subscribe"),
    ],
)
def test_options_that_cannot_work_are_refused_at_declaration(options: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):

        @live.stream("rows", **options)
        async def rows(ctx: Context[Any]) -> list[Row]:
            return []


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="replya"):
        live.stream("rows", replya=True)  # type: ignore[call-arg]  # wrong on purpose


def test_topics_resolve_for_publishers() -> None:
    @live.stream("room:{room}:{n}")
    async def rows(ctx: Context[Any], room: str, n: int = 3) -> list[Row]:
        return []

    @live.channel(merge="set", item=int)
    def numbers(ctx: Context[Any], which: uuid.UUID) -> str:
        return f"numbers:{which}"

    assert rows.topic("red").name == "room:red:3"
    assert str(rows.topic("red", n=4)) == "room:red:4"
    assert numbers.topic(uuid.UUID(int=0)).name.startswith("numbers:0000")
    with pytest.raises(TypeError):
        rows.topic()  # type: ignore[call-overload]


PIECES = st.text(alphabet=":-ab", min_size=1, max_size=4)


@given(st.sampled_from(["t:{a}:{b}:{c}", "{a}--{b}-{c}", "{a}:-:{b}--{c}:"]), *[st.tuples(PIECES, PIECES, PIECES)] * 2)
def test_different_arguments_make_different_topics(
    template: str, one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    @live.stream(template)
    def rows(ctx: Context[Any], a: str, b: str, c: str) -> list[Any]:
        return []

    def topic(arguments: tuple[str, str, str]) -> str | None:
        try:
            return rows.topics.resolve(None, arguments)
        except LiveError as refused:
            assert refused.code == "INVALID_REQUEST"
            return None

    if topic(one) is not None and topic(one) == topic(other):
        assert one == other


def test_what_stands_between_two_arguments_may_be_in_the_last_one() -> None:
    @live.stream("doc:{tenant}:{doc}")
    def rows(ctx: Context[Any], tenant: str, doc: str) -> list[Any]:
        return []

    assert rows.topic("acme", "eu:plan").name == "doc:acme:eu:plan"
    with pytest.raises(LiveError, match="the argument 'tenant' may not contain ':'"):
        rows.topic("acme:eu", "plan")


def test_a_template_has_something_between_its_arguments() -> None:
    with pytest.raises(DeclarationError, match="nothing between 'a' and 'b'"):

        @live.stream("{a}{b}")
        def rows(ctx: Context[Any], a: str, b: str) -> list[Any]:
            return []


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_a_template_takes_no_containers(value: Any) -> None:
    @live.stream("room:{room}")
    async def rows(ctx: Context[Any], room: Any) -> list[Row]:
        return []

    with pytest.raises(LiveError, match="INVALID_REQUEST"):
        rows.topics.resolve(None, [value])


def test_two_declarations_on_one_path_are_refused_with_both_places() -> None:
    @live(path="a/b")
    def one(ctx: Context[Any]) -> None: ...

    @live(path="a/b")
    def two(ctx: Context[Any]) -> None: ...

    with pytest.raises(DeclarationError, match=r"(?s)one.*two"):
        make(one=one, two=two)


def test_streams_on_one_topic_must_agree_on_the_merge() -> None:
    @live.stream("rows")
    async def one(ctx: Context[Any]) -> list[Row]:
        return []

    @live.stream("rows", merge="latest")
    async def two(ctx: Context[Any]) -> list[Row]:
        return []

    with pytest.raises(DeclarationError, match="events mean one thing"):
        make(one=one, two=two)


fixed = live.channel("fixed", merge="latest", item=int)


def test_a_channel_with_a_fixed_topic_is_named_by_its_variable() -> None:
    assert fixed.path == "test_declarations/fixed"
    assert fixed.result_type == list[int]
    with pytest.raises(DeclarationError, match="assign it"):
        _ = live.channel("lost", merge="set", item=int).path


def test_importing_a_declaration_into_another_module_gives_it_no_second_path() -> None:
    import sys

    module = sys.modules[__name__]
    server = LiveServer([module])
    assert "test_declarations/fixed" in server.registry.paths
    assert [entry.path for entry in server.registry.entries] == ["test_declarations/fixed"]

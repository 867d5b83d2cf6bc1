"""``@live.binary`` and ``@live.upload``: what they refuse, and what they still are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from msgspec import Meta

from liverpc import Context, DeclarationError, LiveServer, UploadContext, live, public
from liverpc.testing import create_test_context, create_upload_context

DECORATORS: list[Any] = [live.binary, live.upload]


def make(**functions: Any) -> LiveServer:
    return LiveServer({"demo": SimpleNamespace(**functions, _guard=public())})


@live.binary(max_size=3)
async def avatar(ctx: Context[Any], data: bytes, name: str = "me") -> int:
    """Keeps a picture."""
    return len(data) + len(name)


@live.upload()
async def store(ctx: UploadContext[Any], name: str = "a") -> int:
    """Keeps a file."""
    return sum([len(chunk) async for chunk in ctx.upload])


async def test_a_declaration_is_still_its_function() -> None:
    assert await avatar(create_test_context(), b"1234", name="ann") == 7  # no limit: only servers check
    assert await store(create_upload_context([b"ab", b"c"])) == 3
    assert (avatar.__name__, avatar.__doc__, avatar.path) == ("avatar", "Keeps a picture.", "test_bytes/avatar")
    assert (store.__name__, store.__doc__, store.path) == ("store", "Keeps a file.", "test_bytes/store")


async def test_the_data_is_no_argument_on_the_wire() -> None:
    make(avatar=avatar, store=store)
    assert avatar.signature.names == store.signature.names == ("name",)
    assert avatar.bind(["x"], {}) == store.bind([], {"name": "x"}) == ["x"]
    with pytest.raises(TypeError, match="avatar"):
        avatar.bind(["x", "y"], {})


def test_sizes_are_as_given_else_10_and_100_mebibytes() -> None:
    async def fn(ctx: Context[Any], data: bytes) -> None: ...
    async def up(ctx: UploadContext[Any]) -> None: ...

    assert (avatar.max_size, live.binary()(fn).max_size) == (3, 10 << 20)
    options = live.upload(max_size=1, max_per_connection=2, max_concurrent=3, reauth_every=4)(up).limits
    assert (options.max_size, options.max_per_connection, options.max_concurrent, options.reauth_every) == (1, 2, 3, 4)
    assert live.upload()(up).limits.max_size == 100 << 20


@pytest.mark.parametrize("value", [0, -1, True, 1.5, float("inf"), "1"])
def test_a_size_that_is_no_positive_number_is_refused(value: Any) -> None:
    async def fn(ctx: Any, data: Any) -> None: ...

    for decorator in DECORATORS:
        with pytest.raises(DeclarationError, match=r"fn.*max_size is a positive number, not"):
            decorator(max_size=value)(fn)


@pytest.mark.parametrize("option", ["max_per_connection", "max_concurrent", "reauth_every"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "1"])
def test_so_is_another_number_of_an_upload(option: str, value: Any) -> None:
    decorator: Any = live.upload
    with pytest.raises(DeclarationError, match=f"{option} is a positive number, not"):
        decorator(**{option: value})(lambda ctx: None)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_a_plain_function_is_refused(decorator: Any) -> None:
    def plain(ctx: Any, data: bytes) -> None: ...

    with pytest.raises(DeclarationError, match=r"plain.*takes an async function"):
        decorator()(plain)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_a_generator_is_refused(decorator: Any) -> None:
    async def ticks(ctx: Any, data: bytes) -> Any:
        yield 1

    with pytest.raises(DeclarationError, match="generator"):
        decorator()(ticks)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_a_malformed_path_is_refused(decorator: Any) -> None:
    async def fn(ctx: Any, data: bytes) -> None: ...

    with pytest.raises(DeclarationError, match="path"):
        decorator(path="one")(fn)


async def _only_ctx(ctx: Any) -> None: ...
async def _keyword_only(ctx: Any, *, data: bytes = b"") -> None: ...
async def _rest(ctx: Any, *data: bytes) -> None: ...


@pytest.mark.parametrize("fn", [_only_ctx, _keyword_only, _rest])
def test_a_binary_function_without_a_parameter_for_the_data_is_refused(fn: Any) -> None:
    with pytest.raises(DeclarationError, match=r"needs a second parameter for the bytes: \(ctx, data: bytes, \.\.\.\)"):
        live.binary()(fn)


@pytest.mark.parametrize("kind", [str, int, bytearray, memoryview, bytes | None, list[bytes]])
def test_data_that_is_annotated_with_anything_but_bytes_is_refused_when_the_server_is_made(kind: Any) -> None:
    async def fn(ctx: Any, data: Any, name: str) -> None: ...

    fn.__annotations__["data"] = kind
    with pytest.raises(DeclarationError, match=r"its second parameter is .*the data comes there: def fn\(ctx: Context"):
        make(fn=live.binary()(fn))


async def test_data_without_annotation_or_with_any_is_taken() -> None:
    async def bare(ctx, data) -> None: ...  # type: ignore[no-untyped-def]
    async def anything(ctx: Context[Any], data: Any) -> None: ...

    make(bare=live.binary()(bare), anything=live.binary()(anything))


@pytest.mark.parametrize("decorator", DECORATORS)
def test_a_misplaced_ctx_is_refused_when_the_server_is_made(decorator: Any) -> None:
    async def fn(name: str, ctx: Context[Any]) -> None: ...

    with pytest.raises(DeclarationError, match=r"ctx comes first|the data comes there"):
        make(fn=decorator()(fn))


@pytest.mark.parametrize("decorator", DECORATORS)
def test_an_argument_that_no_json_value_fits_is_refused_when_the_server_is_made(decorator: Any) -> None:
    async def fn(ctx: Any, data: bytes, when: complex) -> None: ...

    with pytest.raises(DeclarationError, match="'when'"):
        make(fn=decorator()(fn))


async def test_annotations_of_arguments_are_their_schema() -> None:
    @live.upload()
    async def up(ctx: UploadContext[Any], name: Annotated[str, Meta(min_length=1)]) -> None: ...

    make(up=up)
    assert up.signature.decode(b'["a"]') == ("a",)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_scoped_stands_above_and_below_and_once(decorator: Any) -> None:
    def known(ctx: Any, *args: Any) -> bool:
        return ctx.user is not None

    async def fn(ctx: Any, data: bytes) -> None: ...

    bare, above, below = decorator()(fn), live.scoped(known)(decorator()(fn)), decorator()(live.scoped(known)(fn))
    assert (bare.access, above.access, below.access) == (None, known, known)
    assert type(above) is type(below) is type(bare)
    with pytest.raises(DeclarationError, match=r"@live\.scoped is there twice"):
        live.scoped(known)(below)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_a_gate_is_for_streams(decorator: Any) -> None:
    async def fn(ctx: Any, data: bytes) -> None: ...

    with pytest.raises(DeclarationError, match=r"@live\.gate is for streams"):
        live.gate(lambda ctx: True)(decorator()(fn))


@pytest.mark.parametrize("decorator", DECORATORS)
def test_without_parentheses_it_says_how(decorator: Any) -> None:
    async def fn(ctx: Any, data: bytes) -> None: ...

    with pytest.raises(DeclarationError, match=r"write @live\.(binary|upload)\(\) with parentheses"):
        decorator(fn)


@pytest.mark.parametrize("decorator", DECORATORS)
def test_a_decorator_that_decorates_nothing_is_refused_when_the_server_is_made(decorator: Any) -> None:
    with pytest.raises(DeclarationError, match=r"demo\.fn is live\.(binary|upload)\(\) without a function"):
        make(fn=decorator())


@pytest.mark.parametrize("decorator", DECORATORS)
def test_there_is_always_a_largest_size(decorator: Any) -> None:
    async def fn(ctx: Any, data: bytes) -> None: ...

    with pytest.raises(DeclarationError, match="max_size is a positive number, not None"):
        decorator(max_size=None)(fn)

"""URL patterns of contracts, and patterns from folders."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liverpc.declare.folders import pattern_of
from liverpc.errors import DeclarationError
from liverpc.pages import UrlPattern

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def no_dots(text: str) -> bool:
    return not {".", ".."} & set(text.split("/"))


@given(TEXT.filter(no_dots), TEXT.filter(no_dots))
def test_filling_and_matching_are_inverse(room: str, rest: str) -> None:
    pattern = UrlPattern("/räume/{room_id}/a%20b c/{rest:path}", "here")
    parts = {"room_id": room, "rest": rest}
    path = pattern.fill(parts)
    assert path.isascii()
    assert " " not in path
    assert pattern.match(path) == parts


@pytest.mark.parametrize("parts", [
    {"b": ".", "c": "x"}, {"b": "..", "c": "x"}, {"b": "x", "c": "."}, {"b": "x", "c": "a/../b"},
    {"b": "x", "c": "../a"},
])  # fmt: skip
def test_parts_that_clients_would_take_for_a_way_through_folders_are_refused(parts: dict[str, str]) -> None:
    pattern = UrlPattern("/a/{b}/{c:path}", "here")
    with pytest.raises(TypeError, match=r"URLs have no segments '\.' and '\.\.'"):
        pattern.fill(parts)
    assert pattern.fill({"b": "...", "c": "a.b/.c/..d"}) == "/a/.../a.b/.c/..d"


def test_what_is_written_out_is_encoded_as_urls_are() -> None:
    assert UrlPattern("/räume/a b/@x:y", "here").fill({}) == "/r%C3%A4ume/a%20b/@x:y"


@given(st.text(max_size=20))
def test_no_path_breaks_a_match_and_no_part_is_empty(path: str) -> None:
    for text in ("/", "/{a}", "/a/{b}", "/{a}/{b:path}"):
        found = UrlPattern(text, "here").match(f"/{path}")
        assert found is None or all(found.values())


@pytest.mark.parametrize(
    ("text", "path", "parts"),
    [
        ("/", "/", {}),
        ("/lobby", "/lobby", {}),
        ("/lobby", "/lobby/", None),
        ("/lobby", "/Lobby", None),
        ("/rooms/{id}", "/rooms/a%2Fb", {"id": "a/b"}),
        ("/rooms/{id}", "/rooms/a/b", None),
        ("/rooms/{id}", "/rooms/", None),
        ("/rooms/{id}", "/rooms", None),
        ("/rooms/{id}", "/rooms/%ff", None),
        ("/rooms/{id}", "/rooms/..", {"id": ".."}),
        ("/files/{rest:path}", "/files/a/b/c", {"rest": "a/b/c"}),
        ("/files/{rest:path}", "/files/", None),
    ],
)
def test_a_path_fits_or_does_not(text: str, path: str, parts: dict[str, str] | None) -> None:
    assert UrlPattern(text, "here").match(path) == parts


def test_segment_by_segment_what_is_written_out_comes_before_what_is_in_braces() -> None:
    texts = ["/{rest:path}", "/a/{b}", "/{a}/b", "/a/b", "/{a}/{b}", "/{a}/b/c", "/a/{b}/{c}", "/a/{rest:path}"]
    ranked = sorted(texts, key=lambda text: UrlPattern(text, "here").rank)
    assert ranked == [
        "/a/b", "/a/{b}", "/a/{b}/{c}", "/a/{rest:path}", "/{a}/b", "/{a}/b/c", "/{a}/{b}", "/{rest:path}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "rooms", "/rooms/", "//", "/a//b", "/a?b", "/a#b", "/x{a}", "/{a", "/{1}", "/{a}/{a}", "/{a:path}/b"]
)
def test_a_malformed_pattern_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError, match="here"):
        UrlPattern(text, "here")


def test_parts_that_are_missing_surplus_or_empty_are_named() -> None:
    pattern = UrlPattern("/a/{b}/{c}", "here")
    with pytest.raises(TypeError, match="needs c"):
        pattern.fill({"b": 1})
    with pytest.raises(TypeError, match="has no d; it has b, c"):
        pattern.fill({"b": 1, "c": 2, "d": 3})
    with pytest.raises(TypeError, match="c is empty"):
        pattern.fill({"b": 1, "c": ""})
    assert unquote(pattern.fill({"b": "ä b", "c": 5})) == "/a/ä b/5"


@pytest.mark.parametrize(
    ("module", "pattern"),
    [
        ("app.routes.rooms._room_id_.chat", "/rooms/{room_id}"),
        ("routes.chat", "/"),
        ("app.routes.files.__rest__.view", "/files/{rest:path}"),
        ("app.routes._a_.b._c_.chat", "/{a}/b/{c}"),
        ("app.routes._private.chat", "/_private"),
        ("app.routes.routes.chat", "/routes"),
        ("app.routes", None),
        ("app.myroutes.chat", None),
        ("chat", None),
    ],
)
def test_a_module_below_routes_answers_on_its_folders(module: str, pattern: str | None) -> None:
    assert pattern_of(module) == pattern

"""Settings: what they refuse, and what the environment may say."""

from typing import Any

import pytest

from liverpc import ClientConfig, ConfigError, Inspect, Limits, LiveServer, Token


def test_the_environment_overrides_the_defaults_by_class_and_field() -> None:
    environ = {"LIVERPC_LIMITS_DEPTH": "32", "LIVERPC_LIMITS_PING_SECONDS": "1.5", "LIVERPC_CLIENT_TIMEOUT": "9"}
    assert Limits.from_env(environ) == Limits(depth=32, ping_seconds=1.5)
    assert ClientConfig.from_env(environ) == ClientConfig(timeout=9)


def test_lists_are_separated_by_commas_and_switches_are_words() -> None:
    environ = {"LIVERPC_INSPECT_ENABLED": "true", "LIVERPC_INSPECT_HOSTS": "a.example, b.example"}
    assert Inspect.from_env(environ) == Inspect(enabled=True, hosts=("a.example", "b.example"))


def test_tokens_are_not_read_from_the_environment() -> None:
    assert Inspect.from_env({"LIVERPC_INSPECT_TOKENS": "x"}).tokens == ()


@pytest.mark.parametrize("text", ["x", "", "1.5", "-1", "0"])
def test_a_variable_that_does_not_fit_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"depth|DEPTH"):
        Limits.from_env({"LIVERPC_LIMITS_DEPTH": text})


@pytest.mark.parametrize("make", [lambda: Limits(depth=0), lambda: Inspect(ring=-1), lambda: ClientConfig(timeout=-5)])
def test_figures_must_be_positive(make: Any) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        make()


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Limits, "ping_seconds", "3"),
        (Limits, "depth", 1.5),
        (Limits, "depth", None),
        (Inspect, "enabled", "yes"),
        (Inspect, "capture", "never"),
        (Inspect, "hosts", "a.example"),
        (Inspect, "tokens", ("x" * 16,)),
        (ClientConfig, "max_attempts", "3"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\.{field}: (Expected|Invalid enum value)"):
        kind(**{field: value})


def test_a_refused_token_is_in_no_error() -> None:
    tokens: Any = ("hunter2-hunter2-hunter2",)
    with pytest.raises(ConfigError) as caught:
        Inspect(tokens=tokens)
    assert "hunter2" not in str(caught.value)


HOOKS = ["on_connect", "on_disconnect", "on_topic", "on_resume", "authenticate", "before_execute"]
HOOKS += ["on_error", "on_unhandled", "on_json_message", "identify"]


@pytest.mark.parametrize(
    ("option", "value", "cure"),
    [
        *((hook, "ann", "takes a function") for hook in HOOKS),
        ("guards", lambda ctx: None, r"takes a list: guards=\[\.\.\.\]"),
        ("guards", ["ann"], "takes a list of functions and guards, not 'ann'"),
        ("limits", {"depth": 3}, r"takes Limits\(\.\.\.\), not a dict"),
        ("inspect", True, r"takes Inspect\(\.\.\.\), not a bool"),
        ("warnings", False, r"takes DevWarnings\(\.\.\.\), not a bool"),
        ("thresholds", 0.5, r"takes PressureThresholds\(\.\.\.\), not a float"),
        ("path", None, "begins with a slash"),
        ("trusted_proxies", "10.0.0.0/8", "takes a list"),
    ],
)
def test_a_wrong_option_of_a_server_is_refused_by_name_with_its_cure(option: str, value: Any, cure: str) -> None:
    with pytest.raises(ConfigError, match=rf"LiveServer\({option}=\).*{cure}"):
        LiveServer(**{option: value})


def test_a_server_that_is_served_as_an_application_says_what_to_serve() -> None:
    with pytest.raises(ConfigError, match=r"app = server\.asgi\(\)"):
        LiveServer()()  # uvicorn tries whether it is a factory


def test_an_unknown_level_is_refused_where_the_token_is_made() -> None:
    level: Any = "obsreve"
    with pytest.raises(ConfigError, match="obsreve"):
        Token(secret="x" * 16, level=level)


def test_a_server_takes_limits_and_devtools_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVERPC_LIMITS_DEPTH", "5")
    monkeypatch.setenv("LIVERPC_INSPECT_ENABLED", "1")
    server = LiveServer()
    assert server.limits.depth == 5
    assert server._inspect.enabled

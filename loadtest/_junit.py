"""A run as a JUnit file, which CI systems show as tests."""

from __future__ import annotations

from loadtest._markup import Element, as_xml, element
from loadtest._result import Result, Row

__all__ = ["junit"]


def junit(result: Result) -> str:
    """A test case for the run itself, and one for each row with a limit.

    A broken limit or law is a failure. The run itself is an error if it broke or was ended early, a row if it says
    that the load generator was not up to it.
    """
    broke = result.exit_code not in (0, 3, 4)
    run = _case(result, "run", element("error", result.error, message=result.verdict) if broke else None)
    cases = [run, *(_case(result, row.metric, _outcome(row)) for row in result.rows if row.limit)]
    suite = element(
        "testsuite",
        *cases,
        name=f"loadtest.{result.scenario}",
        tests=len(cases),
        failures=sum(case.find("failure") is not None for case in cases),
        errors=sum(case.find("error") is not None for case in cases),
        time=result.warmup + result.measured,
        timestamp=result.started,
    )
    return as_xml(element("testsuites", suite))


def _case(result: Result, name: str, outcome: Element | None) -> Element:
    return element("testcase", outcome, classname=f"loadtest.{result.scenario}", name=name)


def _outcome(row: Row) -> Element | None:
    reason = f"{row.metric}: {row.value}, limit {row.limit}"
    if row.mark == "FAIL":
        return element("failure", reason, message=reason, type=row.kind)
    if row.mark == "INVALID":
        return element("error", reason, message=f"the load generator was not up to it: {reason}", type="INVALID")
    return None

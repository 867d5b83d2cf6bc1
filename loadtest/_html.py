"""A run as one page that needs nothing else: no script, no file beside it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from loadtest._compare import Comparison
from loadtest._knee import Knee
from loadtest._markup import Element, as_html, element
from loadtest._plots import STYLE, marks, plots
from loadtest._report import COLUMNS, heading, latency_lines, where
from loadtest._result import Result

__all__ = ["page"]

_PAGE_STYLE = """
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2.2rem } p.soft, ol.soft, figcaption { color: var(--soft) }
p.verdict { font-size: 1.2rem; font-weight: 700; border-left: .4rem solid; padding-left: .8rem }
.good { color: var(--good) } .bad { color: var(--bad) } .odd { color: var(--odd) }
div.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule) }
td.number, th.number { text-align: right } tr.below td { color: var(--soft) } figure { margin: 1.2rem 0 }
pre { overflow-x: auto; color: var(--soft) } td.mark { font-weight: 700 }
"""
_MARKS = {
    "ok": "good",
    "FAIL": "bad",
    "INVALID": "odd",
    "high": "odd",
    "better": "good",
    "WORSE": "bad",
    "worse": "odd",
}


def page(result: Result, knee: Knee, comparison: Comparison | None = None) -> str:
    """The page."""
    tone = {0: "good", 4: "odd"}.get(result.exit_code, "bad")
    verdict = f"{result.verdict} (exit code {result.exit_code})"
    decisive = [(row.metric, row.value, row.limit, row.mark) for row in result.rows if row.limit]
    others = [(row.metric, row.value, row.key) for row in result.rows if not row.limit]
    body = [
        element("h1", heading(result)),
        element("p", verdict, class_=f"verdict {tone}"),
        element("p", result.error, class_="bad") if result.error else None,
        element("p", where(result), class_="soft"),
        *(_section("What had to be right", _table(("metric", "value", "limit", ""), decisive)) if decisive else []),
        *(_compared(comparison) if comparison is not None else []),
        *(_section("Latencies in milliseconds", _latencies(result)) if result.latencies else []),
        *_section("What moved first", element("p", knee.text)),
        *_marked(result, knee),
        *(
            element("figure", plot.chart, element("figcaption", plot.caption) if plot.caption else None)
            for plot in plots(result, knee.at)
        ),
        *(_section("More figures", _table(("metric", "value", "key in a profile"), others)) if others else []),
        *_section("Options", _json(result.options)),
        *(_section("Machine", _json(result.box)) if result.box is not None else []),
    ]
    return as_html(
        element(
            "html",
            element(
                "head",
                element("meta", charset="utf-8"),
                element("meta", name="viewport", content="width=device-width"),
                element("title", f"{result.scenario}: {result.verdict}"),
                element("style", STYLE + _PAGE_STYLE),
            ),
            element("body", *body),
            lang="en",
        )
    )


def _section(title: str, *content: Element) -> list[Element]:
    return [element("h2", title), *content]


def _table(names: Sequence[str], lines: Sequence[Sequence[str]], numbers: int = 0) -> Element:
    """The last cell of a line may be a mark, the last ``numbers`` ones are numbers."""

    def cell(kind: str, text: str, column: int) -> Element:
        number = column >= len(names) - numbers
        tone = f"mark {_MARKS[text]}" if not number and text in _MARKS and column == len(names) - 1 else None
        return element(kind, text, class_="number" if number else tone)

    return element(
        "div",
        element(
            "table",
            element("thead", element("tr", *(cell("th", name, column) for column, name in enumerate(names)))),
            element(
                "tbody",
                *(
                    element(
                        "tr",
                        *(cell("td", text, column) for column, text in enumerate(line)),
                        class_="below" if line[0].startswith("  ") else None,
                    )
                    for line in lines
                ),
            ),
        ),
        class_="wide",
    )


def _latencies(result: Result) -> Element:
    lines = [
        (name, *(f"{ms[column]:.2f}" for column in COLUMNS), samples) for name, ms, samples in latency_lines(result)
    ]
    return _table(("series", *COLUMNS.values(), "samples"), lines, numbers=len(COLUMNS) + 1)


def _compared(comparison: Comparison) -> list[Element]:
    notes = [element("p", note, class_="odd") for note in comparison.differences]
    lines = _table(("", "old", "new", "change", ""), [line.cells for line in comparison.lines])
    return _section(f"Compared with {comparison.old}", *notes, element("p", comparison.verdict), lines)


def _marked(result: Result, knee: Knee) -> list[Element]:
    events = marks(result, knee.at)
    if not events:
        return []
    lines = [element("li", f"{event.text}, at {round(event.at, 1) + 0.0:.1f} s") for event in events]
    left = len(result.events) - sum(event in result.events for event in events)
    more = [element("p", f"{left} more events are not marked.")] if left else []
    return [element("p", "Marked in the plots:", class_="soft"), element("ol", *lines, class_="soft"), *more]


def _json(value: object) -> Element:
    return element("pre", msgspec.json.format(msgspec.json.encode(value), indent=2).decode())

"""The fixture ``inputs`` of the fuzz tests, in a short and a long form, and the number of inputs at the end."""

from collections.abc import Iterator

import pytest
from fuzz import Inputs
from memory import limited_memory

LONG = 4  # times as many inputs as in the short form, and others


@pytest.fixture(params=["short", pytest.param("long", marks=pytest.mark.slow)])
def inputs(request: pytest.FixtureRequest) -> Iterator[Inputs]:
    """The inputs of a test; a failing one is named in the output of the test."""
    drawn = Inputs(request.node.name, LONG if request.param == "long" else 1)
    with limited_memory(4 << 30):
        yield drawn
    print(f"last input: random.Random({drawn.current!r})")
    request.node.user_properties.append(("inputs", drawn.count))


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how many inputs there were."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    count = sum(
        value
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, value in report.user_properties
        if name == "inputs"
    )
    if count:
        terminalreporter.write_line(f"fuzz tests: {count} inputs")

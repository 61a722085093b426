"""One test over the rows of a table."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any, Callable

import pytest

Test = Callable[..., None]


def each(names: str | tuple[str, ...], rows: Iterable[Any]) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, but all rows are one test, as pytest takes a millisecond for each test. The rows
    share its fixtures. Each row that fails is told.
    """

    def made(test: Test) -> Test:
        table = [{names: row} if isinstance(names, str) else dict(zip(names, row)) for row in rows]

        @functools.wraps(test)
        def of_all_rows(**fixtures: Any) -> None:
            failures = []
            for row in table:
                try:
                    test(**row, **fixtures)
                except (Exception, pytest.fail.Exception) as error:
                    failures.append((row, error))
            if failures:
                told = (f"{str(row)[:200]}: {type(error).__name__}: {error}" for row, error in failures)
                raise AssertionError("\n\n".join(told)) from failures[0][1]

        signature = inspect.signature(test)
        others = [value for name, value in signature.parameters.items() if not table or name not in table[0]]
        of_all_rows.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return of_all_rows

    return made

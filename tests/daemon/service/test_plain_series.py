"""Which single points need no second look: everything that a definition could refuse does."""

from __future__ import annotations

from typing import cast

import pytest

from daemon.domain.admission import Window
from daemon.domain.catalog import Definition, SeriesRow
from daemon.domain.kinds import Kind
from daemon.live.registry import DAY_US, Registry
from daemon.service.catalog import Catalog
from daemon.store.series import SeriesStore

NOW_US = 1_766_059_200_000_000
WINDOW = Window(NOW_US, NOW_US + 300_000_000)


@pytest.fixture
def catalog() -> Catalog:
    """Series `flow` (0 to 10, kept 2 days), `open` (boolean) and `mode` (allowed values)."""
    registry = Registry()
    registry.replace(
        [
            SeriesRow(1, "pump_1", "flow", Kind.NUMERIC),
            SeriesRow(2, "pump_1", "open", Kind.BOOLEAN),
            SeriesRow(3, "pump_1", "mode", Kind.NUMERIC),
        ],
        definitions={
            "flow": Definition(Kind.NUMERIC, 0.0, 10.0),
            "mode": Definition(Kind.NUMERIC, allowed_values=frozenset({1.0})),
        },
        retention_days={"flow": 2},
    )
    # The store is for new series only, and there are none here.
    return Catalog(cast(SeriesStore, None), registry)


@pytest.mark.parametrize(
    ("metric_name", "number", "age_us", "expected"),
    [
        ("flow", 10.0, 0, 1),
        ("flow", 0.0, 2 * DAY_US, 1),
        ("flow", 10.1, 0, None),
        ("flow", -0.1, 0, None),
        ("flow", 5.0, 2 * DAY_US + 1, None),
        ("flow", 5.0, -300_000_001, None),
        ("open", 1.0, 0, None),
        ("mode", 1.0, 0, None),
        ("unknown", 1.0, 0, None),
    ],
)
def test_only_a_point_that_nothing_could_refuse_is_plain(
    catalog: Catalog, metric_name: str, number: float, age_us: int, expected: int | None
) -> None:
    found = catalog.plain_series(
        ("pump_1", metric_name), WINDOW, time_us=NOW_US - age_us, number=number
    )

    assert found == expected

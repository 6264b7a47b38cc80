"""Exports that are killed at every step: the files hold each row once, in the order of storing."""

from __future__ import annotations

import gzip
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetryctl.failures import TryLater
from telemetryctl.files.atomic import LockHeld, locked, read_json
from telemetryctl.files.export_state import load_state, settle
from telemetryctl.files.manifest import manifest_of
from telemetryctl.files.parts import EXPORT_HEADER, PartSet
from telemetryctl.files.targets import Targets
from telemetryctl.transfer.exporting import (
    Answer,
    ByTime,
    Exported,
    Query,
    export_new,
    export_range,
)

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
SELECTION: dict[str, list[str]] = {"device_ids": [], "metric_names": []}


def a_row(number: int, *, day: int = 20) -> bytes:
    return f'2026-11-{day:02d}T10:00:00Z,d,m,{number},,"{{""n"": ""{number}""}}"\n'.encode()


class Journal:
    """Rows in the order of storing; cursors count them. Breaks off after `breaks_after` rows."""

    def __init__(self, rows: list[bytes]) -> None:
        self.rows = rows
        self.breaks_after: list[int] = []
        self.asked: list[Query] = []

    @contextmanager
    def fetch(self, query: Query) -> Iterator[Answer]:
        self.asked.append(query)
        rows = self.rows[int(query["after"] or "0") :] if "after" in query else self.rows
        yield Answer(self._chunks(rows), next_cursor=str(len(self.rows)))

    def _chunks(self, rows: list[bytes]) -> Iterator[bytes]:
        limit = self.breaks_after.pop(0) if self.breaks_after else None
        content = b"".join([EXPORT_HEADER, *rows]) if rows else b""
        if limit is not None:
            content = b"".join([EXPORT_HEADER, *rows[:limit]]) + b"2026"
        for start in range(0, len(content), 100):
            yield content[start : start + 100]
        if limit is not None:
            raise TryLater("the connection is gone")


def run_once(journal: Journal, folder: Path, targets: Targets) -> Exported:
    path = folder / "state.json"
    with locked(path):
        state = load_state(path, selection=SELECTION)
        settle(state)
        return export_new(journal.fetch, query={}, state=state, targets=targets, at=MIDNIGHT)


def rows_in(folder: Path) -> dict[str, list[bytes]]:
    found = {}
    for path in sorted(folder.glob("*.csv*")):
        if path.suffix in (".csv", ".gz") and not path.name.startswith("."):
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
            assert content.startswith(EXPORT_HEADER)
            lines = content.splitlines(keepends=True)
            assert lines.count(EXPORT_HEADER) == 1
            found[path.name] = lines[1:]
    return found


@pytest.mark.parametrize("pattern", ["all.csv", "all.csv.gz"])
def test_each_run_appends_what_is_new(tmp_path: Path, pattern: str) -> None:
    journal = Journal([a_row(1), a_row(2)])
    targets = Targets(str(tmp_path / pattern))

    first = run_once(journal, tmp_path, targets)
    journal.rows.append(a_row(3))
    second = run_once(journal, tmp_path, targets)
    third = run_once(journal, tmp_path, targets)

    assert [first.rows, second.rows, third.rows] == [2, 1, 0]
    assert rows_in(tmp_path) == {pattern: [a_row(1), a_row(2), a_row(3)]}
    assert [query["after"] for query in journal.asked] == ["", "2", "3"]


def test_a_split_run_puts_late_rows_into_the_file_of_their_day(tmp_path: Path) -> None:
    journal = Journal([a_row(1, day=20), a_row(2, day=21)])
    targets = Targets(str(tmp_path / "%d.csv"), split=timedelta(days=1))

    run_once(journal, tmp_path, targets)
    journal.rows.append(a_row(3, day=20))
    run_once(journal, tmp_path, targets)

    assert rows_in(tmp_path) == {
        "20.csv": [a_row(1, day=20), a_row(3, day=20)],
        "21.csv": [a_row(2, day=21)],
    }


@given(
    st.lists(st.integers(0, 100 * 86_400_000_000), min_size=1, max_size=20),
    st.sampled_from([timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)]),
    st.sampled_from([UTC, ZoneInfo("America/Chicago")]),
)
def test_rows_find_the_file_of_their_time_in_any_order(
    offsets_us: list[int], split: timedelta, zone: tzinfo
) -> None:
    targets = Targets("%Y-%m-%dT%H:%M:%S", zone=zone, split=split)
    by_time = ByTime(targets)

    for offset_us in offsets_us:
        instant = MIDNIGHT + timedelta(microseconds=offset_us)
        stamp = instant.replace(tzinfo=None).isoformat() + "Z"
        assert by_time.target_of(f"{stamp},d,m,1,,\n".encode()) == targets.at(instant)


def test_the_manifest_describes_the_whole_file_and_each_run(tmp_path: Path) -> None:
    journal = Journal([a_row(1), a_row(2)])
    targets = Targets(str(tmp_path / "all.csv"))
    run_once(journal, tmp_path, targets)
    journal.rows.append(a_row(3))
    run_once(journal, tmp_path, targets)

    manifest = read_json(manifest_of(tmp_path / "all.csv"))

    assert manifest is not None
    assert manifest["rows"] == 3
    assert manifest["bytes"] == (tmp_path / "all.csv").stat().st_size
    assert manifest["last_position"] == "3"
    portions: Any = manifest["portions"]
    assert [(p["revision"], p["rows"], p["first_position"]) for p in portions] == [
        (1, 2, None),
        (2, 1, "2"),
    ]


def test_a_broken_answer_goes_on_after_the_last_whole_row(tmp_path: Path) -> None:
    journal = Journal([a_row(n) for n in range(50)])
    journal.breaks_after = [7, 30]

    done = run_once(journal, tmp_path, Targets(str(tmp_path / "all.csv")))

    assert done.rows == 50
    assert rows_in(tmp_path) == {"all.csv": journal.rows}


def test_an_answer_that_stays_broken_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = Journal([a_row(n) for n in range(50)])
    journal.breaks_after = [7, 7, 7]

    with pytest.raises(TryLater):
        run_once(journal, tmp_path, Targets(str(tmp_path / "all.csv")))

    assert [path.name for path in tmp_path.iterdir()] == ["state.json.lock"]


def test_a_range_is_exported_file_by_file_and_resumed(tmp_path: Path) -> None:
    journal = Journal([a_row(1)])
    targets = Targets(str(tmp_path / "%d.csv.gz"), split=timedelta(days=1))
    window = (MIDNIGHT, MIDNIGHT + timedelta(days=2))

    for _ in range(2):
        export_range(journal.fetch, query={}, window=window, targets=targets, is_resuming=True)

    assert rows_in(tmp_path) == {"20.csv.gz": [a_row(1)], "21.csv.gz": [a_row(1)]}
    assert len(journal.asked) == 2


def test_two_exports_of_one_file_exclude_each_other(tmp_path: Path) -> None:
    parts = PartSet(is_appending=False)
    parts.write(tmp_path / "a.csv", a_row(1))

    with pytest.raises(LockHeld):
        PartSet(is_appending=False).write(tmp_path / "a.csv", a_row(2))

    parts.discard()


def killed_after(calls: int, work: Callable[[], object]) -> bool:
    """Do the work in a child that dies, without any clean-up, at its n-th change on disk."""
    with warnings.catch_warnings():
        # From Python 3.12 on, of threads that the child has no need of.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        left = calls

        def dying(original: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os._exit(9)
                return original(*args, **kwargs)

            return wrapper

        for name in ("open", "replace", "fsync", "unlink"):
            setattr(os, name, dying(getattr(os, name)))
        with suppress(BaseException):
            work()
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 9)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize(
    ("pattern", "split"), [("all.csv.gz", None), ("%d.csv", timedelta(days=1))]
)
def test_a_run_killed_at_any_step_loses_and_repeats_nothing(
    tmp_path: Path, pattern: str, split: timedelta | None
) -> None:
    deaths = 0
    for calls in range(200):
        folder = tmp_path / str(calls)
        folder.mkdir()
        targets = Targets(str(folder / pattern), split=split)
        journal = Journal([a_row(1, day=20), a_row(2, day=21)])
        run_once(journal, folder, targets)
        journal.rows += [a_row(3, day=20), a_row(4, day=22)]
        was_killed = killed_after(calls, lambda j=journal, f=folder, t=targets: run_once(j, f, t))  # type: ignore[misc]
        journal.rows.append(a_row(5, day=21))
        run_once(journal, folder, targets)

        stored = [row for rows in rows_in(folder).values() for row in rows]
        assert sorted(stored) == sorted(journal.rows)
        assert not list(folder.glob(".*.partial"))
        if not was_killed:
            break
        deaths += 1

    assert deaths > 10


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(20, 23), max_size=5),
            st.one_of(st.none(), st.integers(0, 40)),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_any_series_of_runs_and_deaths_equals_the_journal(
    runs: list[tuple[list[int], int | None]], is_split: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split = timedelta(days=1) if is_split else None
        targets = Targets(str(folder / ("%d.csv.gz" if is_split else "all.csv")), split=split)
        journal = Journal([])
        for days, death in runs:
            journal.rows += [a_row(len(journal.rows) + i, day=d) for i, d in enumerate(days)]
            if death is None:
                run_once(journal, folder, targets)
            else:
                killed_after(death, lambda: run_once(journal, folder, targets))
        run_once(journal, folder, targets)

        for name, rows in rows_in(folder).items():
            of_day = [row for row in journal.rows if not is_split or row[8:10] == name[:2].encode()]
            assert rows == of_day
        assert sum(map(len, rows_in(folder).values())) == len(journal.rows)

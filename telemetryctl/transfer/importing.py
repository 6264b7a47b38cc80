"""An import from its files to its end: which rows are left, what was stored, what was refused."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from telemetryctl.failures import UsageFailure
from telemetryctl.files.atomic import BadState, locked
from telemetryctl.files.batches import Bounds, batches
from telemetryctl.files.binding import Binding, bind
from telemetryctl.files.import_state import (
    FileProgress,
    ImportState,
    digest,
    head_of,
    load_state,
    save_state,
)
from telemetryctl.files.mapping import BadMapping, Constants, Mapping
from telemetryctl.files.names import constants_of, fallback_constants
from telemetryctl.files.points import Refusal, UnreadableFile
from telemetryctl.files.refusals import Refusals
from telemetryctl.files.rows import Table, open_table
from telemetryctl.transfer.uploader import Sent, Uploader


@dataclass(frozen=True, slots=True)
class Reading:
    """How the files are read, the same for all of them.

    pattern      of the files' names, such as `{metric}_{device}`
    format       csv or jsonl; None: by the name
    """

    mapping: Mapping
    constants: Constants
    bounds: Bounds
    pattern: str | None = None
    format: str | None = None
    delimiter: str | None = None

    def open(self, name: str, stack: ExitStack) -> tuple[Table, Binding]:
        """Open one file and bind the mapping to its columns. Raises UsageFailure."""
        table = stack.enter_context(open_table(name, format=self.format, delimiter=self.delimiter))
        try:
            constants = constants_of(name, self.constants, pattern=self.pattern)
            if not self.mapping.metrics and table.columns is not None:
                constants = fallback_constants(name, constants, self.mapping, columns=table.columns)
            return table, bind(self.mapping, table.columns, constants)
        except BadMapping as error:
            raise UsageFailure(
                f"{name} can't be read with this mapping: {error}", hint="telemetryctl import -h"
            ) from error

    def digest(self) -> str:
        """Names everything that decides which points are in which batch."""
        bounds = (self.bounds.points_max, self.bounds.bytes_max)
        return digest(self.mapping, self.constants, self.pattern, self.format, bounds)


def is_file(name: str) -> bool:
    """Whether it can be read twice: neither standard input nor a pipe. Missing ones fail later."""
    path = Path(name)
    return name != "-" and (path.is_file() or not path.exists())


def newest_us(names: Sequence[str], reading: Reading) -> int:
    """The newest stamp of all rows, by a first pass. Raises UsageFailure when there is none."""
    newest = None
    for name in names:
        if not is_file(name):
            raise UsageFailure(f"--shift-to reads a file twice, so it can't read {name}")
        with ExitStack() as stack:
            table, binding = reading.open(name, stack)
            for _, row in table.rows:
                time_us = None if isinstance(row, Refusal) else binding.time_us(row)
                if time_us is not None and (newest is None or time_us > newest):
                    newest = time_us
    if newest is None:
        raise UsageFailure("no row has a time that can be read, so nothing can be shifted")
    return newest


@dataclass(slots=True)
class Import:
    """One run. `state_path` None keeps no state: standard input, or a dry run.

    A run that doesn't resume goes on without one where none can be written.
    """

    names: Sequence[str]
    reading: Reading
    state_path: Path | None
    refusals: Refusals
    on_progress: Callable[[Table, Import], None]
    state: ImportState = field(default_factory=lambda: ImportState("", "", 0))
    rows: int = 0
    skipped_rows: int = 0
    empty_rows: int = 0
    stored: int = 0

    def begin(self, stack: ExitStack, *, is_resuming: bool) -> bool:
        """Take the lock and find out what is left. True if an earlier run is continued.

        Raises LockHeld, and UsageFailure for a state of other files or another mapping.
        """
        options = self.reading.digest()
        fresh = ImportState(f"imp_{secrets.token_hex(8)}", options, 0)
        self.state = fresh
        if self.state_path is None:
            return False
        try:
            stack.enter_context(locked(self.state_path))
        except OSError as error:
            if is_resuming:
                raise UsageFailure(f"no state can be kept: {error}") from error
            self.state_path = None
            return False
        found = None
        try:
            found = load_state(self.state_path) if is_resuming else None
        except BadState as error:
            raise UsageFailure(str(error), hint="give another --state, or none") from error
        if found is None:
            return False
        if found.options != options:
            raise UsageFailure(
                "the state belongs to an import with another mapping, --batch or --rate",
                hint="repeat the options of the first run, or leave out --resume",
            )
        self.state = found
        self.refusals.is_appending = True
        return True

    def run(self, client_sending: Callable[[str], Uploader]) -> None:
        """Send what is left of every file. Raises what ended it; the state stays for --resume.

        A file that can't be read this way is found before the first point is sent.
        """
        for name in filter(is_file, self.names):
            with ExitStack() as stack:
                self.reading.open(name, stack)
        self._save()
        for number, name in enumerate(self.names):
            progress = self._progress_of(name)
            with ExitStack() as stack:
                table, binding = self.reading.open(name, stack)
                if progress in self.state.files:  # its number stays, whatever order is asked for
                    number = self.state.files.index(progress)
                uploader = client_sending(f"{self.state.import_id}-{number}")
                stack.callback(uploader.close)
                parts = batches(
                    table.rows,
                    binding,
                    bounds=self.reading.bounds,
                    skip_rows=progress.rows,
                    shift_us=self.state.shift_us,
                )
                self.skipped_rows += progress.rows
                for sent in uploader.send(parts):
                    self._note(sent, table, progress)
                    self.on_progress(table, self)

    def _progress_of(self, name: str) -> FileProgress:
        if self.state_path is None:
            return FileProgress(name, "")
        try:
            # By the whole path: the state may be read from another folder.
            return self.state.file(str(Path(name).absolute()), head=head_of(name))
        except BadState as error:
            raise UsageFailure(str(error), hint="leave out --resume to import it anew") from error
        except (OSError, EOFError, zlib.error) as error:
            raise UnreadableFile(name, str(error)) from error

    def _note(self, sent: Sent, table: Table, progress: FileProgress) -> None:
        batch = sent.batch
        for refusal in (*batch.refused, *sent.refused):
            self.refusals.add(
                table.name,
                refusal,
                row=batch.rows.get(refusal.line),
                columns=table.columns or (),
            )
        # The refused rows must be on disk before the state says that these rows are dealt with.
        self.refusals.flush()
        self.rows += batch.row_to - batch.row_from
        self.empty_rows += batch.empty_rows
        self.stored += sent.stored
        progress.rows = batch.row_to
        self.state.stored += sent.stored
        self.state.refused += len(batch.refused) + len(sent.refused)
        self._save()

    def _save(self) -> None:
        if self.state_path is not None:
            save_state(self.state_path, self.state)


def default_state_path(folder: Path, names: Sequence[str], *, server: str) -> Path:
    """Where the state of importing these files to this server lies when no --state was given."""
    absolute = sorted(str(Path(name).absolute()) for name in names)
    return folder / "imports" / f"{digest(server, absolute)}.json"

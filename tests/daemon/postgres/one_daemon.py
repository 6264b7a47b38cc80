"""A daemon that does nothing but supervise: a process of its own, to be killed by the tests.

Prints a line for every event of the supervisor, then `serving` with the DSN; SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from daemon.postgres.supervisor import EmbeddedPostgres


def report(event: str, **fields: object) -> None:
    sys.stdout.write(f"{event} {fields}\n")
    sys.stdout.flush()


async def main(data_dir: Path) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    embedded = EmbeddedPostgres(data_dir, log=report)
    try:
        await embedded.start()
        sys.stdout.write(f"serving {embedded.dsn}\n")
        sys.stdout.flush()
        async with asyncio.TaskGroup() as tasks:
            supervision = tasks.create_task(embedded.run())
            await over.wait()
            supervision.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await supervision
    finally:
        await embedded.stop()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

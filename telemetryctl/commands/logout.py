"""Logging out: forget the key of a context on this machine, or end its login."""

from telemetryctl import config, logins
from telemetryctl.api import contexts
from telemetryctl.failures import NothingThere
from telemetryctl.options import command, single
from telemetryctl.session import Session

app = single()


@command(app, example="telemetryctl logout\ntelemetryctl logout -c work")
def logout(session: Session) -> None:
    """Forget the key of the context. It stays valid: `key revoke` ends it everywhere.

    A login with a password is ended on the server, too.
    """
    # Nothing is renewed here: a login that has ended can be forgotten.
    settings = config.resolve(session.flags)
    name = settings.context
    if not name:
        raise NothingThere("no context is in use, so there is no key to forget")
    folder = contexts.config_home()
    with contexts.locked(folder):
        credentials = contexts.read_credentials(folder)
        entry = credentials.get("contexts", {}).pop(name, None)
        if entry is None:
            raise NothingThere(f'context "{name}" has no stored key')
        contexts.write_tables(folder / contexts.CREDENTIALS_FILE, credentials)
    if entry.get("refresh_token"):
        is_told = logins.end(entry, server=settings.server, timeout_s=session.timeout_s)
        said = "has ended" if is_told else "is forgotten; the server could not be told"
        session.console.note(f'the login of context "{name}" {said}')
        return
    session.console.note(f'the key of context "{name}" is forgotten on this machine')

"""Logging out: forget the key of a context on this machine."""

from telemetryctl.api import contexts
from telemetryctl.failures import NothingThere
from telemetryctl.options import command, single
from telemetryctl.session import Session

app = single()


@command(app, example="telemetryctl logout\ntelemetryctl logout -c work")
def logout(session: Session) -> None:
    """Forget the key of the context. It stays valid: `key revoke` ends it everywhere."""
    name = session.settings.context
    if not name:
        raise NothingThere("no context is in use, so there is no key to forget")
    folder = contexts.config_home()
    with contexts.locked(folder):
        credentials = contexts.read_credentials(folder)
        if credentials.get("contexts", {}).pop(name, None) is None:
            raise NothingThere(f'context "{name}" has no stored key')
        contexts.write_tables(folder / contexts.CREDENTIALS_FILE, credentials)
    session.console.note(f'the key of context "{name}" is forgotten on this machine')

"""Whether the daemon would start with its settings: builds what they name, and keeps nothing of it.

What only the database knows is not asked, and no address is taken.
"""

from __future__ import annotations

from daemon.config import Config, default_secret_key_file
from daemon.inside import callers_of
from daemon.parts import publisher_of, session_settings_of
from daemon.postgres.binaries import locate
from daemon.service.secret_box import secret_box


async def check(config: Config) -> None:
    """Raises DomainError and OSError as the start would."""
    secret_box(config.auth.secret_key, file=default_secret_key_file(), makes=False)
    session_settings_of(config, makes=False)
    publisher_of(config)
    callers_of(config)
    if config.is_embedded:
        locate()

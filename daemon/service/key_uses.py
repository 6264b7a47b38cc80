"""When keys are used, and from which networks: noted with each request, stored a few seconds later.

Who a credential is is decided in service/keys, who still comes with a former one is noted in
service/former_callers.
"""

from __future__ import annotations

from daemon.clock import Clock, as_datetime
from daemon.domain import tellings
from daemon.domain.access import Principal
from daemon.domain.errors import TryLater
from daemon.domain.events import NewEvent
from daemon.domain.former_callers import ADDRESS_MAX
from daemon.domain.key_networks import NETWORKS_MAX, network_of
from daemon.log import get_logger
from daemon.service.former_callers import FormerCallers
from daemon.store.key_networks import KeyUse
from daemon.store.keys import KeyStore

USE_NOTED_EVERY_S = 60.0
"""A use is stored once in this time: of a key, and of each network."""
NOTED_MAX = 16_384
"""So many are remembered of all keys together, and NETWORKS_MAX of one; further uses are noted when
others are forgotten."""

log = get_logger()


class KeyUses:
    """What this process has seen lately; `note` costs no more than a few look-ups."""

    def __init__(self, store: KeyStore, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.former = FormerCallers(store.former_callers, clock=clock)
        self._noted_at_s: dict[str, dict[str | None, float]] = {}
        self._noted = 0
        self._uses: list[KeyUse] = []

    def note(self, principal: Principal, address: str) -> None:
        key_id = principal.key_id
        if not key_id.startswith("key_"):
            return
        now_s, network = self._clock.monotonic_s(), network_of(address)
        networks = self._noted_at_s.get(key_id, {})
        noted_at_s = networks.get(network)
        if noted_at_s is not None and now_s - noted_at_s < USE_NOTED_EVERY_S:
            return
        if noted_at_s is None:
            if len(networks) >= NETWORKS_MAX or self._noted >= NOTED_MAX:
                return
            self._noted += 1
        networks[network] = now_s
        self._noted_at_s[key_id] = networks
        now = as_datetime(self._clock.now_us())
        self._uses.append(KeyUse(key_id, now, address[:ADDRESS_MAX], network))

    async def write(self) -> None:
        """Store the uses, those of former secrets too, and tell of networks that are new; a
        background turn.

        What can't be stored now is forgotten, and noted again with the next use.
        """
        uses, self._uses = self._uses, []
        self._forget(self._clock.monotonic_s() - USE_NOTED_EVERY_S)
        try:
            await self.former.write()
            if not uses:
                return
            await self._store.note_uses(uses)
            for use in await self._store.networks.note(uses):
                await self._tell(use)
        except TryLater as error:
            self._noted_at_s, self._noted = {}, 0
            log.warning("key_uses_not_stored", keys=len(uses), code=error.error_code)

    def _forget(self, before_s: float) -> None:
        kept = {
            of: {network: at_s for network, at_s in networks.items() if at_s > before_s}
            for of, networks in self._noted_at_s.items()
        }
        self._noted_at_s = {of: networks for of, networks in kept.items() if networks}
        self._noted = sum(map(len, self._noted_at_s.values()))

    async def _tell(self, use: KeyUse) -> None:
        """Remember one more network of a key; any daemon may, the first one tells."""
        now_us = self._clock.now_us()

        def tell(name: str, *, is_last: bool) -> NewEvent:
            return tellings.key_new_network(use, name, is_last=is_last, now_us=now_us)

        if await self._store.networks.add(use, tell=tell):
            log.warning("key_new_network", key_id=use.key_id, network=use.network)

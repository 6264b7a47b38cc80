"""Encrypts the secrets of channels anew, after `[auth] secret_key` was replaced."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from daemon.domain.channels import Channel
from daemon.service.secret_box import MARK_BYTES, SecretBox, WrongSecretKey
from daemon.store.channels import CHANNELS_MAX, ChannelStore


@dataclass(slots=True)
class Resealed:
    """Names of channels: `done` now, `kept` as they were, and `lost` when neither key opens them.

    Channels without secrets are in none of these.
    """

    done: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


async def reseal(store: ChannelStore, *, box: SecretBox, former: SecretBox) -> Resealed:
    """Seal with `box` what `former` opens, one channel after the other; again it does nothing.

    A daemon that still has the former key leaves messages of those channels to one that has the
    new key. Raises NoSecretKey.
    """
    told = Resealed()
    channels, _ = await store.page(kind=None, limit=CHANNELS_MAX, offset=0)

    def sealed_anew(channel: Channel) -> Channel:
        secrets = former.open(channel.secrets, about=channel.channel_id)
        return replace(channel, secrets=box.seal(secrets, about=channel.channel_id))

    for channel in channels:
        if channel.secrets is None:
            continue
        if channel.secrets[:MARK_BYTES] == box.mark:
            told.kept.append(channel.name)
            continue
        try:
            await store.change(channel.name, sealed_anew)
        except WrongSecretKey:
            told.lost.append(channel.name)
        else:
            told.done.append(channel.name)
    return told

"""Each feed is given exactly the rows that it wants, however many there are and whoever else wants
them."""

from __future__ import annotations

import numpy as np
from hubs import World, a_world
from hypothesis import given, settings
from hypothesis import strategies as st
from stacks import ADMIN

from daemon.domain.block import Block
from daemon.domain.catalog import SeriesRow
from daemon.domain.interest import make_interest
from daemon.domain.kinds import Kind
from daemon.live.feed_kinds import make_feed
from daemon.live.feeds import Feed
from daemon.live.index import Index
from daemon.live.ring import Entry

devices = st.sets(st.sampled_from(["d1", "d2", "d3", "d4"]), max_size=3)
metrics = st.sets(st.sampled_from(["m", "n"]), max_size=1)
wanted = st.lists(st.tuples(devices, metrics), max_size=6)
ids = st.lists(st.integers(1, 10), min_size=1, max_size=60)


def a_feed(world: World, devices: set[str], metrics: set[str]) -> Feed:
    interest = make_interest(devices=devices, metrics=metrics)
    return make_feed(interest, ADMIN, world.hub.views)


def an_entry(ids: list[int]) -> Entry:
    n = len(ids)
    return Entry(1, Block(np.array(ids, np.int32), np.arange(n), np.arange(n, dtype=np.float64)))


def found(index: Index, entry: Entry) -> dict[Feed, list[int]]:
    return {feed: np.asarray(rows).tolist() for feed, rows in index.touched(entry)}


def expected(feeds: list[Feed], ids: list[int]) -> dict[Feed, list[int]]:
    rows = {feed: [row for row, one in enumerate(ids) if feed.wants(one)] for feed in feeds}
    return {feed: own for feed, own in rows.items() if own}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(wanted, st.lists(ids, min_size=2, max_size=4), st.data())
def test_each_feed_is_given_what_it_wants(
    asked: list[tuple[set[str], set[str]]], blocks: list[list[int]], data: st.DataObject
) -> None:
    """Feeds come and go, the catalogue grows and is read anew, between blocks."""
    world = a_world()
    index = Index(world.hub.views)
    feeds: list[Feed] = []
    for at, block in enumerate(blocks):
        for names in asked[at::2]:
            feeds.append(a_feed(world, *names))
            index.add(feeds[-1])
        match data.draw(st.sampled_from(["nothing", "remove", "register", "reload"])):
            case "remove" if feeds:
                index.remove(feeds.pop(0))
            case "register":
                world.registry.add([SeriesRow(9, "d1", "o", Kind.NUMERIC)])
            case "reload":
                index.clear()
        entry = an_entry(block)

        assert found(index, entry) == expected(feeds, block)
        rows = {row for own in expected(feeds, block).values() for row in own}
        union = np.concatenate([*entry.wanted, np.empty(0, np.intp)])
        assert set(union.tolist()) >= rows
        for feed in feeds:
            matched = np.asarray(index.matcher(feed)(entry)).tolist()
            assert matched == expected([feed], block).get(feed, [])

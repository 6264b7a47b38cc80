"""Single points become blocks in the order in which they came, whatever came between them."""

from __future__ import annotations

import numpy as np

from daemon.domain.block import Block
from daemon.domain.plain import PlainPoint, assemble


def test_points_around_a_block_stay_around_it() -> None:
    block = Block(np.array([9], np.int32), np.array([90], np.int64), np.array([9.5]))
    unit = b'{"unit":"l/s"}'

    blocks = assemble([PlainPoint(1, 10, 1.5, unit), PlainPoint(2, 20, 2.5, None), block,
                       PlainPoint(1, 10, 3.5, unit)])  # fmt: skip

    assert [b.numbers.tolist() for b in blocks] == [[1.5, 2.5], [9.5], [3.5]]
    assert [b.series_ids.tolist() for b in blocks] == [[1, 2], [9], [1]]
    assert blocks[0].context_of is not None
    assert (blocks[0].context_of.tolist(), blocks[0].contexts) == ([0, -1], [unit])
    assert blocks[1] is block

"""The ingest routes, from bytes to the journal."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import lz4.frame
import numpy as np
import pytest
import zstandard
from event_builder import a_deletion
from stacks import NOW_US, Stack, a_stack

from daemon.domain.block import unpack
from daemon.domain.errors import CatalogStale
from daemon.store.devices import DeviceStore
from daemon.store.pool import Database
from daemon.store.series import Catalog, SeriesStore
from daemon.transport.decode import decode_point

pytestmark = pytest.mark.anyio
NOON = "2025-12-18T12:00:00Z"


@pytest.fixture
async def stack(database: Database) -> AsyncIterator[Stack]:
    async with a_stack(database, metrics_per_device_max=20) as opened:
        yield opened


def a_point(**changes: Any) -> dict[str, Any]:
    return {"timestamp": NOON, "metric_name": "temperature", "value": 25.5} | changes


async def stored(stack: Stack) -> list[tuple[str, str, int, Any]]:
    """(device, metric, seconds from noon, value) of every point in the journal, in order."""
    found = []
    for row in await stack.journal.read_after(0, limit_blocks=1000):
        assert row.body is not None
        block = unpack(row.body)
        for at, series_id in enumerate(block.series_ids.tolist()):
            number = float(block.numbers[at])
            value = block.objects[at] if np.isnan(number) else number
            seconds = (int(block.times_us[at]) - NOW_US) // 1_000_000
            device, metric = (
                stack.registry.device_of[series_id],
                stack.registry.metric_of[series_id],
            )
            found.append((str(device), str(metric), seconds, value))
    return found


class TestSinglePoint:
    async def test_is_committed_and_confirmed(self, stack: Stack) -> None:
        answer = await stack.post("/devices/d1/telemetry", a_point())

        assert answer.status_code == 200
        assert answer.json() == {
            "success": True,
            "message": "Data point ingested successfully",
            "device_id": "d1",
            "metric_name": "temperature",
        }
        assert answer.headers["x-request-id"]
        assert await stored(stack) == [("d1", "temperature", 0, 25.5)]

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (1, 1.0),
            (-0.5, -0.5),
            (True, 1.0),
            ("on", "on"),
            ({"a": [1]}, {"a": [1]}),
            ([], []),
            (2**53, 2.0**53),
        ],
    )
    async def test_takes_every_kind_of_value(self, stack: Stack, value: Any, kept: Any) -> None:
        answer = await stack.post("/devices/d1/telemetry", a_point(value=value))

        assert answer.status_code == 200
        assert await stored(stack) == [("d1", "temperature", 0, kept)]

    async def test_the_device_id_is_percent_decoded_once(self, stack: Stack) -> None:
        answer = await stack.post("/devices/hall%2F1%3Aa/telemetry", a_point())

        assert answer.json()["device_id"] == "hall/1:a"

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"timestamp": "2025-12-18T12:00:00"}, "bad_timestamp"),
            ({"timestamp": "yesterday"}, "bad_timestamp"),
            ({"timestamp": None}, "bad_timestamp"),
            ({"timestamp": "0001-01-01T00:00:00Z"}, "too_old"),
            ({"timestamp": "1970-01-01T00:00:00Z"}, "too_old"),
            ({"timestamp": "9999-12-31T23:59:59Z"}, "in_future"),
            ({"timestamp": "2025-12-18T12:05:01Z"}, "in_future"),
            ({"metric_name": ""}, "bad_name"),
            ({"metric_name": "a b"}, "bad_name"),
            ({"metric_name": "x" * 129}, "bad_name"),
            ({"metric_name": 5}, "bad_name"),
            ({"metric_name": "température"}, "bad_name"),
            ({"value": None}, "unknown_type"),
            ({"value": 2**53 + 1}, "bad_value"),
            ({"value": -(2**63)}, "bad_value"),
            ({"value": "a\0b"}, "bad_value"),
            ({"value": {"k\0": 1}}, "bad_value"),
            ({"value": "x" * 65_537}, "too_large"),
            ({"value": ["x" * 65_537]}, "too_large"),
            ({"value": json.loads("[" * 17 + "]" * 17)}, "bad_value"),
            ({"tags": {"a": 1}}, "bad_value"),
            ({"tags": ["a"]}, "bad_value"),
            ({"tags": {str(n): "" for n in range(33)}}, "bad_value"),
            ({"tags": {"a": "x" * 257}}, "bad_value"),
            ({"tags": {"": "x"}}, "bad_value"),
            ({"unit": 5}, "bad_value"),
            ({"unit": "x" * 65}, "bad_value"),
            ({"metadata": "x"}, "bad_value"),
        ],
    )
    async def test_is_refused_with_its_reason(
        self, stack: Stack, changes: dict[str, Any], code: str
    ) -> None:
        answer = await stack.post("/devices/d1/telemetry", a_point(**changes))

        assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert await stored(stack) == []

    @pytest.mark.parametrize("missing", ["timestamp", "metric_name", "value"])
    async def test_needs_its_three_fields(self, stack: Stack, missing: str) -> None:
        point = a_point()
        del point[missing]

        answer = await stack.post("/devices/d1/telemetry", point)

        assert answer.status_code == 422

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"nonsense",
            b"\xff\xfe",
            b'{"value": NaN}',
            b"\xef\xbb\xbf{}",
            b"[" * 100_000,
            b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"m","value":'
            + b"[" * 50_000
            + b"]" * 50_000
            + b"}",
            b'{"timestamp":"2025-12-18T12:00:00Z","metric_name":"m","value":"\\ud800"}',
        ],
    )
    async def test_an_unreadable_body_is_a_400(self, stack: Stack, body: bytes) -> None:
        answer = await stack.post("/devices/d1/telemetry", body)

        assert answer.status_code == 400
        assert await stored(stack) == []

    @pytest.mark.parametrize(
        ("number", "code"),
        [
            ("1e400", "not_finite"),
            ("-1e400", "not_finite"),
            ('{"lat":1e400,"lon":1}', "not_finite"),
            ("[[1,1e999]]", "not_finite"),
            ("9" * 400, "bad_value"),
        ],
    )
    async def test_a_number_beyond_a_double_is_a_clear_refusal(
        self, stack: Stack, number: str, code: str
    ) -> None:
        body = f'{{"timestamp":"{NOON}","metric_name":"m","value":{number}}}'

        answer = await stack.post("/devices/d1/telemetry", body)

        assert (answer.status_code, answer.json()["code"]) == (422, code)

    async def test_null_within_a_value_is_no_infinity(self, stack: Stack) -> None:
        answer = await stack.post("/devices/d1/telemetry", a_point(value={"a": None}))

        assert answer.status_code == 200

    @pytest.mark.parametrize("device_id", ["a%20b", "d" * 129, "%FF", "d%00"])
    @pytest.mark.parametrize("path", ["telemetry", "telemetry/batch"])
    async def test_a_device_id_that_is_no_name_is_a_malformed_path(
        self, stack: Stack, device_id: str, path: str
    ) -> None:
        body = a_point() if path == "telemetry" else {"data_points": [a_point()]}
        answer = await stack.post(f"/devices/{device_id}/{path}", body)

        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
        assert "device_id" in answer.json()["detail"]


class TestBatch:
    @pytest.mark.parametrize("number", ["1e400", "-1e999"])
    async def test_a_number_beyond_a_double_fails_itself_only(
        self, stack: Stack, number: str
    ) -> None:
        body = f'{{"data_points":[{{"timestamp":"{NOON}","metric_name":"m","value":{number}}},'
        body += f'{{"timestamp":"{NOON}","metric_name":"m","value":1}}]}}'
        columns = '{"series":[{"device_id":"d2","metric_name":"m","timestamps":[1766059199,'
        columns += f'1766059200],"values":[{number},1]}}]}}'

        for answer, index in (
            (await stack.post("/devices/d1/telemetry/batch", body), 0),
            (await stack.post("/columns", columns), [0, 0]),
        ):
            [error] = answer.json()["errors"]
            assert (answer.status_code, answer.json()["ingested_count"]) == (200, 1)
            assert (error["index"], error["code"]) == (index, "not_finite")

    async def test_one_broken_point_fails_itself_only(self, stack: Stack) -> None:
        points = [
            a_point(),
            a_point(value=None),
            "nonsense",
            a_point(metric_name="humidity", value=60),
        ]

        answer = await stack.post("/devices/d1/telemetry/batch", {"data_points": points})

        assert answer.status_code == 200
        body = answer.json()
        assert (body["ingested_count"], body["failed_count"], body["total_count"]) == (2, 2, 4)
        assert [(e["index"], e["code"], e["retryable"]) for e in body["errors"]] == [
            (1, "unknown_type", False),
            (2, "bad_value", False),
        ]
        assert await stored(stack) == [
            ("d1", "temperature", 0, 25.5),
            ("d1", "humidity", 0, 60.0),
        ]

    async def test_nothing_stored_is_a_422_with_the_same_body(self, stack: Stack) -> None:
        answer = await stack.post(
            "/devices/d1/telemetry/batch", {"data_points": [a_point(value=None)]}
        )

        body = answer.json()
        assert answer.status_code == 422
        assert (body["success"], body["ingested_count"], body["failed_count"]) == (False, 0, 1)
        assert body["errors"][0]["code"] == "unknown_type"
        assert body["status"] == 422

    async def test_of_1001_points_is_too_large(self, stack: Stack) -> None:
        points = {"data_points": [a_point()] * 1001}

        assert (await stack.post("/devices/d1/telemetry/batch", points)).status_code == 413

    async def test_of_1000_points_in_mixed_forms_keeps_each_point(self, stack: Stack) -> None:
        points = [
            a_point(timestamp=NOW_US / 1e6 - n, value=n, unit="c" if n % 2 else None)
            for n in range(1000)
        ]

        answer = await stack.post("/devices/d1/telemetry/batch", {"data_points": points})

        assert answer.json()["ingested_count"] == 1000
        assert await stored(stack) == [("d1", "temperature", -n, float(n)) for n in range(1000)]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"data_points": 5},
            {"data_points": []},
            [],
            "x",
            {"data_points": [a_point()], "batch_id": "x" * 129},
        ],
    )
    async def test_a_body_of_another_shape_is_a_422(self, stack: Stack, body: Any) -> None:
        answer = await stack.post("/devices/d1/telemetry/batch", json.dumps(body))

        assert answer.status_code == 422

    async def test_a_repeated_batch_id_gets_the_first_answer(self, stack: Stack) -> None:
        batch = {"data_points": [a_point(), a_point(value=None)], "batch_id": "b1"}

        first = (await stack.post("/devices/d1/telemetry/batch", batch)).json()
        second = (await stack.post("/devices/d1/telemetry/batch", batch)).json()
        elsewhere = (await stack.post("/devices/d2/telemetry/batch", batch)).json()

        assert first["batch_id"] == "b1"
        assert second == first | {"duplicate": True}
        assert "duplicate" not in elsewhere
        assert len(await stored(stack)) == 2

    async def test_a_batch_id_with_another_payload_is_refused(self, stack: Stack) -> None:
        batch = {"data_points": [a_point()], "batch_id": "b1"}
        await stack.post("/devices/d1/telemetry/batch", batch)

        answer = await stack.post(
            "/devices/d1/telemetry/batch", batch | {"data_points": [a_point(value=1)]}
        )

        assert (answer.status_code, answer.json()["code"]) == (422, "batch_id_reused")

    async def test_a_dry_run_judges_and_stores_nothing(self, stack: Stack) -> None:
        batch = {"data_points": [a_point(), a_point(metric_name="a b")], "batch_id": "b1"}

        answer = await stack.post("/devices/d1/telemetry/batch?dry_run=true", batch)

        assert (answer.json()["ingested_count"], answer.json()["failed_count"]) == (1, 1)
        assert await stored(stack) == []
        assert stack.registry.devices == {}

    async def test_more_metrics_than_a_device_may_have_are_refused_alone(
        self, stack: Stack
    ) -> None:
        points = [a_point(metric_name=f"m{n}") for n in range(25)]

        answer = await stack.post("/devices/d1/telemetry/batch", {"data_points": points})

        assert answer.json()["ingested_count"] == 20
        assert {e["code"] for e in answer.json()["errors"]} == {"cardinality_limit"}
        assert [e["index"] for e in answer.json()["errors"]] == [20, 21, 22, 23, 24]

    async def test_points_that_can_not_be_stored_make_no_device(self, stack: Stack) -> None:
        points = [a_point(timestamp="1970-01-01T00:00:00Z"), a_point(value=None), "nonsense"]

        await stack.post("/devices/d1/telemetry/batch", {"data_points": points})

        assert stack.registry.devices == {}


class TestBulk:
    async def test_devices_fail_on_their_own(self, stack: Stack) -> None:
        answer = await stack.post(
            "/bulk", {"d1": [a_point()], "bad id": [a_point()], "d2": [a_point(value=True)]}
        )

        body = answer.json()
        assert answer.status_code == 200
        assert (body["ingested_count"], body["failed_count"], body["total_count"]) == (2, 1, 3)
        assert body["results"]["bad id"]["errors"][0]["code"] == "bad_name"
        assert [row[0] for row in await stored(stack)] == ["d1", "d2"]

    async def test_over_ten_thousand_points_is_too_large(self, stack: Stack) -> None:
        assert (await stack.post("/bulk", {"d": [a_point()] * 10_001})).status_code == 413


class TestColumns:
    async def test_columns_become_points(self, stack: Stack) -> None:
        body = {
            "series": [
                {
                    "device_id": "d1",
                    "metric_name": "t",
                    "timestamps": [NOW_US, NOW_US - 10**6],
                    "values": [1, 2.5],
                    "unit": "c",
                },
                {
                    "device_id": "d2",
                    "metric_name": "s",
                    "timestamps": [NOW_US // 1000],
                    "values": ["on"],
                },
            ]
        }

        answer = await stack.post("/columns", body)

        assert answer.json()["ingested_count"] == 3
        assert await stored(stack) == [
            ("d1", "t", 0, 1.0),
            ("d1", "t", -1, 2.5),
            ("d2", "s", 0, "on"),
        ]

    async def test_an_error_says_series_and_point(self, stack: Stack) -> None:
        body = {
            "series": [
                {"device_id": "d1", "metric_name": "t", "timestamps": [], "values": []},
                {
                    "device_id": "d1",
                    "metric_name": "t",
                    "timestamps": [NOW_US, NOW_US + 10**9],
                    "values": [1, 2],
                },
            ]
        }

        answer = await stack.post("/columns", body)

        assert [(e["index"], e["code"]) for e in answer.json()["errors"]] == [([1, 1], "in_future")]

    @pytest.mark.parametrize(
        "series",
        [
            {"timestamps": [1], "values": []},
            {"timestamps": ["2025-12-18T12:00:00Z"], "values": [1]},
            {"timestamps": [True], "values": [1]},
            {"timestamps": 5, "values": 5},
        ],
    )
    async def test_columns_that_do_not_fit_are_a_422(self, stack: Stack, series: Any) -> None:
        body = {"series": [{"device_id": "d1", "metric_name": "t"} | series]}

        assert (await stack.post("/columns", body)).status_code == 422

    async def test_over_a_hundred_thousand_points_is_too_large(self, stack: Stack) -> None:
        one = {
            "device_id": "d",
            "metric_name": "t",
            "timestamps": [1] * 100_001,
            "values": [1] * 100_001,
        }

        assert (await stack.post("/columns", {"series": [one]})).status_code == 413


class TestCompression:
    @pytest.mark.parametrize(
        ("encoding", "compress"),
        [
            ("gzip", gzip.compress),
            ("zstd", zstandard.ZstdCompressor().compress),
            ("lz4", lz4.frame.compress),
        ],
    )
    async def test_is_decoded_and_bounded(self, stack: Stack, encoding: str, compress: Any) -> None:
        body = json.dumps({"data_points": [a_point()], "compression": encoding}).encode()
        headers = {"content-encoding": encoding}
        path = "/devices/d1/telemetry/batch"

        whole = await stack.post(path, compress(body), headers=headers)
        cut = await stack.post(path, compress(body)[:-4], headers=headers)
        trailing = await stack.post(path, compress(body) + b"rest", headers=headers)
        bomb = await stack.post(path, compress(bytes(64 * 2**20)), headers=headers)

        assert whole.json()["ingested_count"] == 1
        assert [a.status_code for a in (cut, trailing, bomb)] == [400, 400, 413]

    async def test_two_members_are_read_whole(self, stack: Stack) -> None:
        body = json.dumps({"data_points": [a_point()]}).encode()
        members = gzip.compress(body[:10]) + gzip.compress(body[10:])

        answer = await stack.post(
            "/devices/d1/telemetry/batch", members, headers={"content-encoding": "gzip"}
        )

        assert answer.json()["ingested_count"] == 1

    async def test_an_unknown_or_disagreeing_encoding_is_refused(self, stack: Stack) -> None:
        batch = json.dumps({"data_points": [a_point()], "compression": "gzip"})
        path = "/devices/d1/telemetry/batch"

        brotli = await stack.post(path, batch, headers={"content-encoding": "br"})
        nested = await stack.post(path, batch, headers={"content-encoding": "gzip, gzip"})
        disagreeing = await stack.post(path, batch)

        assert [a.status_code for a in (brotli, nested, disagreeing)] == [415, 415, 422]
        assert brotli.headers["accept-encoding"] == "gzip, zstd, lz4"

    async def test_four_mebibytes_on_the_wire_are_the_most(self, stack: Stack) -> None:
        assert (await stack.post("/bulk", b" " * (4 * 2**20 + 1))).status_code == 413


class SlowReading(SeriesStore):
    """Its first reading of the catalogue is handed on when `may_end` is set."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.was_read, self.may_end = asyncio.Event(), asyncio.Event()

    async def catalog(self) -> Catalog:
        read = await super().catalog()
        if not self.was_read.is_set():
            self.was_read.set()
            await self.may_end.wait()
        return read


class TestCatalogue:
    async def test_a_block_that_waits_while_the_catalogue_is_read_anew_is_judged_again(
        self, stack: Stack, database: Database
    ) -> None:
        await stack.post("/devices/d1/telemetry", a_point())
        old = stack.registry.devices["d1"]["temperature"]
        admission = await stack.ingest.admit(decode_point(json.dumps(a_point()).encode(), "d1"))
        assert admission.block is not None
        version = stack.ingest.catalog_version
        await DeviceStore(database).delete("d1", **a_deletion("d1"))
        await stack.tail.reload_catalog()

        with pytest.raises(CatalogStale):
            await stack.ingest.commit([admission.block], catalog_version=version)
        again = await stack.post("/devices/d1/telemetry", a_point())

        assert again.status_code == 200
        assert stack.registry.devices["d1"]["temperature"] != old

    async def test_a_series_that_is_new_while_two_read_the_catalogue_stays_known(
        self, stack: Stack, database: Database
    ) -> None:
        """The reading that ends last may be the older one."""
        reading = SlowReading(database)
        stack.tail.series = reading
        async with database.transaction("control") as connection:
            await connection.execute("select telemetry.catalog_changed()")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(stack.tail.reload_catalog())
            await reading.was_read.wait()
            tasks.create_task(stack.tail.reload_catalog())
            posted = tasks.create_task(stack.post("/devices/d1/telemetry", a_point()))
            await asyncio.wait([posted], timeout=0.3)
            reading.may_end.set()

        assert posted.result().status_code == 200
        assert stack.registry.find("d1", "temperature") is not None


class TestOrder:
    async def test_of_equal_keys_the_later_value_is_latest(self, stack: Stack) -> None:
        await stack.post(
            "/devices/d1/telemetry/batch", {"data_points": [a_point(value=1), a_point(value=2)]}
        )
        await stack.post("/devices/d1/telemetry", a_point(value=3))
        await stack.post(
            "/devices/d1/telemetry", a_point(value=9, timestamp="2025-12-18T11:59:59Z")
        )

        latest = stack.latest.get(1)

        assert latest is not None
        assert (latest.value, latest.time_us) == (3.0, NOW_US)

    async def test_without_a_key_nothing_is_read(self, stack: Stack) -> None:
        answer = await stack.post("/bulk", b"nonsense", headers={"Authorization": ""})

        assert answer.status_code == 401

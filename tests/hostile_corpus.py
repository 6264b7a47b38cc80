"""What nobody in good faith sends: values, bodies, times, names and texts for every door."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

NOW = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
VALUES = [
    b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1e131073", b"9" * 400,
    b"18446744073709551616", b"9007199254740993", b"-9223372036854775809",
    b'"\\u0000"', b'"a\\u0000b"', b'"\\ud800"', b'"\\udfff\\ud800"', b'"\xff\xfe"', b'"\xc0\x80"',
    b'{"a\\u0000":1}', b'{"\\ud800":1}', b'{"a":"\\u0000"}', b'["\\u0000"]', b"null", b"",
    b"[" * 17 + b"]" * 17, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'"' + b"x" * 65_537 + b'"', b"tru", b"{", b"'a'", b"0x10", b"01", b"+1", b".5", b"1.",
]  # fmt: skip
SHAPES = [
    b"",
    b" ",
    b"\0",
    b"\xff\xfe{",
    b"\xef\xbb\xbf{}",
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"a"',
    b"{" * 100_000,
    b"[" * 100_000,
    b'{"a":1,"a":2}',
    b'{"data_points":null}',
    b'{"data_points":{}}',
    b'{"data_points":[]}',
    b'{"data_points":[null,1,"a",[],{}]}',
    b'{"series":null}',
    b'{"series":[{}]}',
    b'{"series":[{"device_id":"d","metric_name":"m","timestamps":[1],"values":[]}]}',
    b'{"series":[{"device_id":"d","metric_name":"m","timestamps":["a"],"values":["b"]}]}',
    b'{"":[]}',
    b'{"d":null}',
    b'{"d":[{"timestamp":1}]}',
    b'{"name":"\\u0000","data_type":"numeric"}',
    b'{"name":"x","scopes":["\\u0000"]}',
    b'{"name":"\\ud800","data_type":"numeric","description":"\\u0000"}',
    b'{"name":"u","data_type":"numeric","description":"\\u0000"}',
    b'{"name":"v","data_type":"numeric","description":"\\ud800"}',
    b'{"name":"q","data_type":"json","metadata":{"a":"\\u0000"}}',
    b'{"name":"w","data_type":"json","tags":["\\u0000"]}',
    b'{"name":"y","data_type":"string","allowed_values":["\\u0000"]}',
    b'{"name":"r","data_type":"numeric","min_value":NaN}',
    b'{"name":"s","data_type":"numeric","min_value":1e400}',
    b'{"name":"t","data_type":"numeric","retention_days":99999999999999999999}',
    b'{"tags":{"a":"\\u0000"}}',
    b'{"attributes":{"b":"\\ud800"}}',
    b'{"attributes":{"b":"\\u0000"}}',
    b'{"attributes":{"b":1e400}}',
    b'{"name":"\\u0000"}',
    b'{"location":{"lat":NaN,"lon":1}}',
    b'{"expected_interval":1e400}',
    b'{"attributes":' + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}",
]
TIMES: list[Any] = [
    "0000-00-00T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "10000-01-01T00:00:00Z",
    "1970-01-01T00:00:00Z", "2026-11-21T00:00:60Z", "2026-11-21T00:00:00", "2026-02-30T00:00:00Z",
    "2026-11-21T25:00:00Z", "2026-11-21T00:00:00+99:99", "now", "", "\0", 0, -1, 1e300, 10**30,
    -(10**30), 2**63, None, True, [], {},
]  # fmt: skip
NAMES: list[Any] = [
    "", " ", "a b", "\0", "a\0b", "ä", "x" * 129, "a'; drop table telemetry.series; --", "%",
    "\ud800", None, 5, [], {},
]  # fmt: skip
TEXTS = [
    "'", '"', "' or 1=1 --", "'; select pg_sleep(9); --", "%27", "\\", "%", "_", "%s", "$1", "{}",
    "a" * 5000, "\0", "\ud800", "ä", "-1", "0", "1e9", "99999999999999999999", "NaN", "null",
    "true", "[]", "1;2", "../../etc/passwd", "\r\nX-Evil: 1", "1h", "avg", "2026-11-21T00:00:00Z",
]  # fmt: skip
METRICS = ["m", "a_json", "a_binary", "a_geolocation"]
"""A metric without a definition, and some with one."""


def a_point(value: Any, **changes: Any) -> dict[str, Any]:
    return {"timestamp": time.time(), "metric_name": "m", "value": value} | changes


def bodies() -> Iterator[bytes]:
    """Bodies for any POST."""
    yield from SHAPES
    for value in VALUES:
        for metric in METRICS:
            yield from _with_value(value, metric)
        yield from _with_context(value)
    for stamp in TIMES:
        yield from _in_both(timestamp=stamp)
        yield _json({"metrics": ["m"], "start_time": stamp, "end_time": NOW})
    for name in NAMES:
        yield from _in_both(metric_name=name)
        yield _json({"data_points": [a_point(1)], "batch_id": name})
        yield _json({"name": name, "data_type": "numeric", "scopes": [name]})
        yield from _queries(name)


def _with_value(value: bytes, metric: str) -> Iterator[bytes]:
    point = b'{"timestamp":"%b","metric_name":"%b","value":%b}'
    point %= (NOW.encode(), metric.encode(), value)
    column = b'{"device_id":"d1","metric_name":"%b","timestamps":[%d],"values":[%b]}'
    column %= (metric.encode(), int(time.time()), value)
    yield point
    yield b'{"data_points":[%b]}' % point
    yield b'{"d1":[%b]}' % point
    yield b'{"series":[%b]}' % column


def _with_context(value: bytes) -> Iterator[bytes]:
    point = b'{"timestamp":"%b","metric_name":"m","value":1,"%b":%b}'
    for field in (b"unit", b"tags", b"metadata"):
        yield point % (NOW.encode(), field, value)
    yield b'{"data_points":[%b],"batch_id":%b}' % (_json(a_point(1)), value)


def _in_both(**changes: Any) -> Iterator[bytes]:
    yield _json(a_point(1, **changes))
    yield _json({"data_points": [a_point(1, **changes)]})


def _queries(name: Any) -> Iterator[bytes]:
    query = {"metrics": ["m"], "start_time": 1, "end_time": NOW}
    for field in ("devices", "groups", "metrics"):
        yield _json(query | {field: [name]})
    for field in ("aggregation", "interval", "cursor", "limit", "strict"):
        yield _json(query | {field: name})
    yield _json(query | {"filters": {"tags": {str(name): name}}})


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()

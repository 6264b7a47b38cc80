"""Pre-encoded requests, endless and distinct: laid out once, then only the times are replaced."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

API = "/api/v1/telemetry"
METRICS = 10
"""Metrics of a device; their names are equally long, as are all values."""
TICKS_PER_BATCH = 100
COLUMN_POINTS = 100
STAMP_BYTES = 20
_TAGS = ',"tags":{"location":"room_1","line":"A7"}'


def metric_name(number: int) -> str:
    return f"metric_{number}"


def device_id(number: int) -> str:
    return f"device-{number:05d}"


def request(method: str, path: str, *, token: str, body: bytes = b"") -> bytes:
    """A whole HTTP/1.1 request, kept alive."""
    lines = [f"{method} {API}{path} HTTP/1.1", "Host: bench", f"X-Api-Key: {token}"]
    if body or method in ("POST", "PUT"):
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def stamps(times_s: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """ISO 8601 with Z, one row of STAMP_BYTES characters per time."""
    text = np.datetime_as_string(times_s.astype("datetime64[s]"), timezone="UTC").astype("S20")
    return text.view(np.uint8).reshape(-1, STAMP_BYTES)


def values(count: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Numbers from 10.01 to 99.99 whose text is always five characters."""
    whole = np.random.default_rng(seed).integers(1001, 9999, count)
    numbers: npt.NDArray[np.float64] = (whole + (whole % 10 == 0)) / 100
    return numbers


def _point(name: str, value: float, *, tagged: bool) -> str:
    stamp = "0" * STAMP_BYTES
    tags = _TAGS if tagged else ""
    named = f'"metric_name":"{name}","value":{value:.2f},"unit":"celsius"'
    return f'{{"timestamp":"{stamp}",{named}{tags}}}'


def batches(
    devices: Sequence[int], *, first_s: int, token: str, tagged: bool = False
) -> Iterator[bytes]:
    """1,000 points of one device a request: 100 seconds of 10 metrics, tick by tick."""
    numbers = values(METRICS * TICKS_PER_BATCH, seed=devices[0])
    points = [
        _point(metric_name(at % METRICS), number, tagged=tagged)
        for at, number in enumerate(numbers.tolist())
    ]
    head, tail = b'{"data_points":[', b"]}"
    body = np.frombuffer(head + ",".join(points).encode() + tail, np.uint8).copy()
    width = len(points[0]) + 1
    rows = np.lib.stride_tricks.as_strided(
        body[len(head) + len('{"timestamp":"') :],
        (METRICS * TICKS_PER_BATCH, STAMP_BYTES),
        (width, 1),
    )
    for turn in itertools.count():
        times = first_s + np.arange(turn * TICKS_PER_BATCH, (turn + 1) * TICKS_PER_BATCH)
        rows[:] = np.repeat(stamps(times), METRICS, axis=0)
        text = body.tobytes()
        for device in devices:
            path = f"/devices/{device_id(device)}/telemetry/batch"
            yield request("POST", path, token=token, body=text)


def singles(devices: Sequence[int], *, first_s: int, token: str) -> Iterator[bytes]:
    """One point a request: the metrics of the devices in turn, second after second."""
    templates = []
    for device in devices:
        for number in range(METRICS):
            value = float(values(1, seed=device * METRICS + number)[0])
            point = _point(metric_name(number), value, tagged=False).encode()
            path = f"/devices/{device_id(device)}/telemetry"
            whole = request("POST", path, token=token, body=point)
            before = len(whole) - len(point) + len('{"timestamp":"')
            templates.append((whole[:before], whole[before + STAMP_BYTES :]))
    for start_s in itertools.count(first_s, 1000):
        for stamp in stamps(np.arange(start_s, start_s + 1000)):
            text = stamp.tobytes()
            for start, end in templates:
                yield start + text + end


def columns(
    devices: Sequence[int], *, first_s: int, token: str, step_s: int = 1
) -> Iterator[bytes]:
    """100 points of each series of the devices in a request, which then moves on in time."""
    series = []
    for device in devices:
        for number in range(METRICS):
            names = f'"device_id":"{device_id(device)}","metric_name":"{metric_name(number)}"'
            head = f'{{{names},"timestamps":['
            column = values(COLUMN_POINTS, seed=device * METRICS + number)
            text = ",".join(f"{value:.2f}" for value in column.tolist())
            series.append((head.encode(), f'],"values":[{text}],"unit":"celsius"}}'.encode()))
    for turn in itertools.count():
        at = first_s + step_s * np.arange(turn * COLUMN_POINTS, (turn + 1) * COLUMN_POINTS)
        times = ",".join(map(str, (at * 1000).tolist())).encode()
        parts = b",".join([head + times + tail for head, tail in series])
        yield request("POST", "/columns", token=token, body=b'{"series":[' + parts + b"]}")


def columns_of_many(
    devices: Sequence[int], *, first_s: int, step_s: int, ticks: int, token: str
) -> Iterator[bytes]:
    """Requests of `columns` for 10 devices each, all devices before time moves on; then it ends."""
    groups = [
        columns(devices[at : at + 10], first_s=first_s, token=token, step_s=step_s)
        for at in range(0, len(devices), 10)
    ]
    for _ in range(ticks // COLUMN_POINTS):
        for group in groups:
            yield next(group)


def walk(series: int, ticks: int, *, seed: int) -> npt.NDArray[np.float64]:
    """Random walks between 0 and 100 with two decimals, (series, ticks)."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 1, (ticks, series))
    state = random.uniform(0, 100, series)
    for row in steps:
        state = np.clip(state + row, 0, 100)
        row[:] = state
    return np.ascontiguousarray(steps.T).round(2)


def history(
    devices: Sequence[int],
    *,
    first_s: int,
    step_s: int,
    ticks: int,
    ticks_per_body: int,
    skip: int = 0,
    token: str,
) -> Iterator[bytes]:
    """Columns of random walks, in time order, with all series of the devices; then it ends.

    `skip` leaves out the first ticks, which another call has sent.
    """
    names = [(device_id(d), metric_name(m)) for d in devices for m in range(METRICS)]
    numbers = walk(len(names), skip + ticks, seed=devices[0])
    heads = [
        f'{{"device_id":"{device}","metric_name":"{metric}","unit":"celsius","timestamps":['.encode()
        for device, metric in names
    ]
    end = skip + ticks
    for at in range(skip, end, ticks_per_body):
        count = min(ticks_per_body, end - at)
        times_ms = (first_s + step_s * np.arange(at, at + count)) * 1000
        times = ",".join(map(str, times_ms.tolist())).encode()
        parts = [
            head + times + b'],"values":' + _numbers(numbers[row, at : at + count]) + b"}"
            for row, head in enumerate(heads)
        ]
        yield request(
            "POST", "/columns", token=token, body=b'{"series":[' + b",".join(parts) + b"]}"
        )


def _numbers(column: npt.NDArray[np.float64]) -> bytes:
    return str(column.tolist()).replace(" ", "").encode()


def reads(calls: Sequence[tuple[str, str, str]], *, token: str, times: int = 0) -> Iterator[bytes]:
    """These calls (method, path, body) in turn, `times` times each, or endlessly."""
    requests = [
        request(method, path, token=token, body=body.encode()) for method, path, body in calls
    ]
    rounds = itertools.repeat(requests, times) if times else itertools.repeat(requests)
    return itertools.chain.from_iterable(rounds)

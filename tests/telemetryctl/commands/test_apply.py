"""apply when the server goes away in the middle, or has something else at its address."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import CommandLine
from rough_server import answer, rough_server

METRICS = json.dumps(
    [{"kind": "metric", "name": name, "spec": {"data_type": "json"}} for name in "abc"]
)
NONE = answer("200 OK", b'{"metrics": [], "total": 0}')


def test_what_was_not_tried_is_named_when_the_server_goes_away(
    cli: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "m.json").write_text(METRICS)
    with rough_server([NONE, answer("201 Created", b'{"name": "a"}'), b""]) as server:
        done = cli.run("apply", "-f", str(tmp_path), "--yes", "-o", "jsonl", "--server", server.url)

    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["name"], row["action"]) for row in rows] == [
        ("a", "created"), ("b", "failed"), ("c", "failed"),
    ]  # fmt: skip
    assert "not tried" in rows[2]["detail"]
    assert done.code == 6
    assert "2 of 3 changes failed" in done.err
    # The list, the first, and three tries of the second, which may be tried again as it has a key.
    assert len(server.requests) == 5
    assert len({key_of(request) for request in server.requests[2:]}) == 1


def key_of(request: bytes) -> bytes:
    return request.partition(b"Idempotency-Key: ")[2].partition(b"\r\n")[0]


def test_nothing_done_is_the_code_of_what_stopped_it(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(METRICS)
    forbidden = answer("403 Forbidden", b'{"code": "missing_scope", "detail": "no"}')
    with rough_server([NONE, forbidden]) as server:
        refused = cli.run("apply", "-f", str(tmp_path), "--yes", "--server", server.url)
    with rough_server([b""]) as server:
        away = cli.run("diff", "-f", str(tmp_path), "--server", server.url, "--timeout", "1s")

    assert (refused.code, refused.err.count("(missing_scope)")) == (4, 3)
    assert away.code == 75

"""The tail on the command line: what it shows, when it ends, what it keeps."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import PROGRAM, CommandLine
from daemons import DaemonProcess
from tails import WITHIN_S, Tail, is_listening, iso, keep_place, keys, send, stored, tailing

TRANSPORTS = ["ws", "sse", "poll"]


@pytest.fixture
def http(daemon: DaemonProcess) -> Iterator[httpx.Client]:
    with daemon.http() as client:
        yield client


def ready(tail: Tail, daemon: DaemonProcess, device: str, **extra: Any) -> list[str]:
    """The lines that will come, after the ones that showed that it listens."""
    is_listening(tail, daemon, device=device, **extra)
    tail.out.clear()
    return tail.out


class TestSelection:
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_what_is_stored_is_shown_at_once(
        self, daemon: DaemonProcess, http: httpx.Client, transport: str
    ) -> None:
        with tailing(daemon, "-d", "shown", "--transport", transport) as tail:
            ready(tail, daemon, "shown")
            send(http, "shown", "speed", [1, 2.5], unit="mph", tags={"route": "20"})
            tail.wait_for_lines(2)

        assert [(p["value"], p["unit"], p["tags"]) for p in tail.points] == [
            (1, "mph", {"route": "20"}),
            (2.5, "mph", {"route": "20"}),
        ]

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_devices_metrics_and_tags_choose(
        self, daemon: DaemonProcess, http: httpx.Client, transport: str
    ) -> None:
        chosen = ["-d", "one,two", "-m", "wanted", "-m", "ping", "--tag", "room=lab"]
        with tailing(daemon, *chosen, "--transport", transport) as tail:
            ready(tail, daemon, "one", tags={"room": "lab"})
            for device in ("one", "two", "three"):
                send(http, device, "wanted", [1], tags={"room": "lab"})
                send(http, device, "wanted", [2], tags={"room": "hall"})
                send(http, device, "other", [3], tags={"room": "lab"})
            send(http, "two", "wanted", [4], tags={"room": "lab", "floor": "2"})
            tail.wait_for_lines(3)

        assert [(p["device_id"], p["value"]) for p in tail.points] == [
            ("one", 1), ("two", 1), ("two", 4),
        ]  # fmt: skip

    def test_selectors_are_the_options_in_one_word(
        self, daemon: DaemonProcess, http: httpx.Client
    ) -> None:
        send(http, "worded", "speed", [1], tags={"room": "lab"})
        send(http, "worded", "speed", [2])
        send(http, "worded", "fuel", [3], tags={"room": "lab"})

        words = ["device:worded metric:speed", "tag:room=lab"]
        with tailing(daemon, *words, "--since", "1h", "--idle", "5s") as tail:
            assert tail.end() == 0

        assert [p["value"] for p in tail.points] == [1]

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_a_group_chooses_its_members(
        self, daemon: DaemonProcess, http: httpx.Client, transport: str
    ) -> None:
        name = f"members-{transport}"
        send(http, f"in-{transport}", "speed", [0])
        made = http.post(
            "/groups", json={"name": name, "kind": "line", "device_ids": [f"in-{transport}"]}
        )
        assert made.status_code == 201, made.text
        with tailing(daemon, "--group", name, "--transport", transport) as tail:
            ready(tail, daemon, f"in-{transport}")
            send(http, "outside", "speed", [1])
            send(http, f"in-{transport}", "speed", [2])
            tail.wait_for_lines(1)

        assert [p["value"] for p in tail.points] == [2]

    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_every_shows_the_newest_of_each_series_in_a_span(
        self, daemon: DaemonProcess, http: httpx.Client, transport: str
    ) -> None:
        chosen = ["-d", "fast", "-m", "speed,fuel,ping", "--every", "1s"]
        with tailing(daemon, *chosen, "--transport", transport) as tail:
            ready(tail, daemon, "fast")

            def shown() -> list[int]:
                return [p["value"] for p in tail.points if p["metric_name"] == "speed"]

            began_s = time.monotonic()
            for number in count():
                send(http, "fast", "speed", [number])
                send(http, "fast", "fuel", [number])
                if number > 30 and len(shown()) > 1:
                    break
                time.sleep(0.04)
            tail.wait(lambda: number in shown(), "newest", WITHIN_S)
            tail.stop()
            took_s = time.monotonic() - began_s

        values = shown()
        assert values == sorted(set(values))
        assert values[-1] == number
        assert 2 <= len(values) <= min(took_s + 2, number / 5)


class TestHistory:
    @pytest.mark.parametrize("transport", TRANSPORTS)
    def test_history_and_live_meet_without_a_seam(
        self, daemon: DaemonProcess, http: httpx.Client, transport: str
    ) -> None:
        device = f"seam-{transport}"
        is_over = threading.Event()
        for start in range(0, 20_000, 1000):
            send(http, device, "n", list(range(start, start + 1000)))

        def go_on() -> None:
            with daemon.http() as own:
                for number in range(20_000, 100_000):
                    if is_over.is_set():
                        return
                    send(own, device, "n", [number])

        sender = threading.Thread(target=go_on)
        sender.start()
        try:
            chosen = ["-d", device, "--since", "1h", "--transport", transport]
            with tailing(daemon, *chosen) as tail:
                tail.wait_for_lines(20_500)
                is_over.set()
                sender.join()
                expected = stored(daemon, metric="n")
                expected = [row for row in expected if row[0] == device]
                tail.wait_for_lines(len(expected))
                assert tail.stop() == 128 + signal.SIGTERM
        finally:
            is_over.set()
            sender.join()

        assert keys(tail.points) == expected

    def test_a_correction_while_history_is_read_is_told_after_it(
        self, daemon: DaemonProcess, http: httpx.Client
    ) -> None:
        now_us = time.time_ns() // 1000 - 60_000_000
        points = [
            {"timestamp": iso(now_us + n), "metric_name": "n", "value": n} for n in range(1000)
        ]
        http.post("/devices/corrected/telemetry/batch", json={"data_points": points})
        with tailing(daemon, "-d", "corrected", "--since", "1h", "--transport", "poll") as tail:
            tail.wait_for_lines(1000)
            again = points[500] | {"value": -1}
            http.post("/devices/corrected/telemetry/batch", json={"data_points": [again]})
            tail.wait_for_lines(1001)

        assert [p["value"] for p in tail.points] == [*range(1000), -1]

    def test_points_stamped_ahead_of_this_clock_are_history_too(
        self, daemon: DaemonProcess, http: httpx.Client
    ) -> None:
        ahead = {"timestamp": iso(time.time_ns() // 1000 + 120_000_000), "metric_name": "n"}
        http.post("/devices/ahead/telemetry/batch", json={"data_points": [ahead | {"value": 1}]})

        with tailing(daemon, "-d", "ahead", "--since", "5m", "-n", "1") as tail:
            assert tail.end() == 0

        assert [p["value"] for p in tail.points] == [1]

    def test_until_a_past_time_is_history_alone(
        self, daemon: DaemonProcess, http: httpx.Client
    ) -> None:
        now_us = time.time_ns() // 1000
        points = [
            {"timestamp": iso(now_us - minutes * 60_000_000), "metric_name": "n", "value": minutes}
            for minutes in (50, 30, 10)
        ]
        http.post("/devices/past/telemetry/batch", json={"data_points": points})

        with tailing(daemon, "-d", "past", "--since", "1h", "--until", "20m") as tail:
            assert tail.end() == 0

        assert [p["value"] for p in tail.points] == [50, 30]

    def test_a_past_end_without_history_is_a_usage_error(self, cli: CommandLine) -> None:
        result = cli.run("tail", "--until", "20m")

        assert result.code == 2
        assert "lies in the past" in result.err


class TestEnds:
    def test_count_ends_it_to_the_point(self, daemon: DaemonProcess, http: httpx.Client) -> None:
        with tailing(daemon, "-d", "counted", "-n", "3") as tail:
            while tail.process.poll() is None:
                send(http, "counted", "n", [1, 2])
                time.sleep(0.1)

        assert tail.end() == 0
        assert len(tail.points) == 3

    def test_for_and_idle_and_until_end_it(self, daemon: DaemonProcess) -> None:
        for option in (["--for", "1s"], ["--idle", "1s"]):
            began_s = time.monotonic()
            with tailing(daemon, "-d", "nobody", *option) as tail:
                assert tail.end() == 0, (option, tail.err)
            assert time.monotonic() - began_s > 0.5
            assert tail.out == []
        # How soon may be too soon, where a process takes long to begin.
        for ahead_s in (5, 15, 60):
            soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead_s))
            with tailing(daemon, "-d", "nobody", "--until", soon) as tail:
                code = tail.end()
            if "lies in the past" not in "".join(tail.err):
                break
        assert code == 0, tail.err
        assert time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) >= soon
        assert tail.out == []

    def test_idle_begins_anew_with_every_point(
        self, daemon: DaemonProcess, http: httpx.Client
    ) -> None:
        with tailing(daemon, "-d", "idle", "--idle", "6s") as tail:
            ready(tail, daemon, "idle")
            for _ in range(10):
                time.sleep(0.7)
                send(http, "idle", "n", [1])
            assert tail.end() == 0

        assert len(tail.points) == 10

    @pytest.mark.parametrize("since", [["--since", "1h"], []], ids=["history", "stream"])
    def test_idle_does_not_begin_before_the_first_answer(
        self, daemon: DaemonProcess, http: httpx.Client, since: list[str]
    ) -> None:
        send(http, "asleep", "n", [1])
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            with tailing(daemon, "-d", "asleep", *since, "--idle", "2s") as tail:
                time.sleep(4)
                woken_s = time.monotonic()
                daemon.process.send_signal(signal.SIGCONT)
                assert tail.end() == 0
        finally:
            daemon.process.send_signal(signal.SIGCONT)

        assert time.monotonic() - woken_s > 1.5
        assert [point["value"] for point in tail.points] == ([1] if since else [])

    def test_nothing_at_all_is_3_when_that_is_asked(self, daemon: DaemonProcess) -> None:
        with tailing(daemon, "-d", "nobody", "--for", "500ms", "--fail-empty") as tail:
            assert tail.end() == 3

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_cleanly(
        self, daemon: DaemonProcess, http: httpx.Client, number: signal.Signals
    ) -> None:
        with tailing(daemon, "-d", "signalled", "-o", "json") as tail:
            is_listening_json(tail, http)
            assert tail.stop(number) == 128 + number

        document = json.loads("\n".join(tail.out))
        assert document["data_points"]
        assert [line for line in tail.err if "Traceback" in line or "error" in line] == []

    def test_a_second_signal_ends_it_although_nobody_reads(
        self, daemon: DaemonProcess, http: httpx.Client
    ) -> None:
        unread, pipe = os.pipe()
        process = subprocess.Popen(
            [PROGRAM, "tail", "-d", "stuck", "-o", "jsonl"], env=daemon.environment,
            stdout=pipe, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            fill(pipe, http)
            process.terminate()
            time.sleep(0.5)
            assert process.poll() is None

            assert killed_by_another(process) == -signal.SIGTERM
        finally:
            process.kill()
            process.wait(60)
            os.close(unread)
            os.close(pipe)

    def test_a_reader_that_goes_away_ends_it_quietly(
        self, daemon: DaemonProcess, http: httpx.Client
    ) -> None:
        script = f"{PROGRAM} tail -d piped -o plain | head -2; echo ${{PIPESTATUS[0]}}"
        process = subprocess.Popen(
            ["bash", "-c", script], env=daemon.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        while process.poll() is None:
            send(http, "piped", "n", [1])
            time.sleep(0.1)
        out, err = process.communicate()

        assert out.splitlines()[0].startswith("timestamp\tdevice_id")
        assert out.splitlines()[-1] == "141"
        assert "Traceback" not in err
        assert "error" not in err

    def test_a_server_that_is_away_at_first_is_75(self, cli: CommandLine) -> None:
        for transport in ("auto", "ws", "sse", "poll"):
            result = cli.run("tail", "--server", "http://127.0.0.1:9", "--transport", transport)
            assert result.code == 75, result.err
            assert "can't be reached" in result.err

    def test_a_wrong_key_is_4(self, daemon: DaemonProcess) -> None:
        for transport in ("auto", "ws", "sse", "poll"):
            environ = {"TELEMETRYCTL_TOKEN": "tlm_live_wrong", "TELEMETRYCTL_SERVER": daemon.url}
            with tailing(daemon, "--transport", transport, environ=environ) as tail:
                assert tail.end() == 4, tail.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--transport", "pigeon"],
            ["--every", "50ms"],
            ["--every", "1m"],
            ["--tag", "room"],
            ["worded"],
            ["colour:red"],
            ["-n", "0"],
            ["--for", "soon"],
            ["--template", "{device_id.__class__}"],
            ["--template", "{tags[room]}"],
            ["--template", "{nobody}"],
            ["--template", "{value"],
            ["--template", "{0}"],
            ["-d", ",".join(f"d{n}" for n in range(101))],
        ],
    )
    def test_what_makes_no_sense_is_2(self, cli: CommandLine, arguments: list[str]) -> None:
        result = cli.run("tail", *arguments)

        assert (result.code, result.out) == (2, "")
        assert result.err


def is_listening_json(tail: Tail, http: httpx.Client) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while len(tail.out) < 2:
        assert time.monotonic() < deadline_s, tail.err
        send(http, "signalled", "n", [1])
        time.sleep(0.1)


def fill(pipe: int, http: httpx.Client) -> None:
    """Send until the tail can write no more, as nobody reads."""
    deadline_s = time.monotonic() + WITHIN_S
    while select.select([], [pipe], [], 0.1)[1]:
        assert time.monotonic() < deadline_s, "it writes nothing"
        send(http, "stuck", "n", list(range(1000)))
    send(http, "stuck", "n", list(range(1000)))
    time.sleep(0.5)


def killed_by_another(process: subprocess.Popen[bytes]) -> int:
    """The exit code after further signals: two at once are one for the kernel."""
    for _ in range(60):
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(1)
    raise AssertionError("it goes on")


class TestFormats:
    @pytest.fixture
    def history(self, http: httpx.Client) -> list[str]:
        """Two points with all there is, and the options that show just them."""
        now_us = time.time_ns() // 1000 // 1_000_000 * 1_000_000
        for number, value in enumerate([1.5, "tab\there"]):
            point = {
                "timestamp": iso(now_us - 60_000_000 + number * 1000),
                "metric_name": f"m{number}",
                "value": value,
                "unit": "mph",
                "tags": {"room": "lab"},
            }
            sent = http.post("/devices/formats/telemetry/batch", json={"data_points": [point]})
            assert sent.json()["ingested_count"] == 1
        return ["-d", "formats", "--since", "1h", "-n", "2"]

    def test_plain_has_one_header_and_escapes(self, cli: CommandLine, history: list[str]) -> None:
        lines = cli.run("tail", *history).out.splitlines()

        assert lines[0] == "timestamp\tdevice_id\tmetric_name\tvalue\tunit\ttags"
        assert len(lines) == 3
        assert lines[1].split("\t")[1:] == ["formats", "m0", "1.5", "mph", '{"room":"lab"}']
        assert "tab\\there" in lines[2]

    def test_csv_has_one_header(self, cli: CommandLine, history: list[str]) -> None:
        rows = list(csv.reader(io.StringIO(cli.run("tail", *history, "-o", "csv").out)))

        assert rows[0] == ["timestamp", "device_id", "metric_name", "value", "unit", "tags"]
        assert [row[3] for row in rows[1:]] == ["1.5", "tab\there"]

    def test_json_is_one_document(self, cli: CommandLine, history: list[str]) -> None:
        document = json.loads(cli.run("tail", *history, "-o", "json").out)

        assert [p["value"] for p in document["data_points"]] == [1.5, "tab\there"]
        assert document["cursor"]

    def test_json_without_points_is_a_document_too(self, cli: CommandLine) -> None:
        document = json.loads(cli.run("tail", "-d", "no", "--for", "500ms", "-o", "json").out)

        assert document["data_points"] == []

    def test_fields_choose_and_order(self, cli: CommandLine, history: list[str]) -> None:
        result = cli.run("tail", *history, "--fields", "value,tags.room", "--no-headers")

        assert result.out == "1.5\tlab\ntab\\there\tlab\n"

    def test_a_template_is_a_format_string(self, cli: CommandLine, history: list[str]) -> None:
        template = r"{device_id:>9}|{value:.2f}|{tags.room}|{unit!r}\t{metadata}"

        result = cli.run("tail", *history, "--template", template)

        assert result.out == "  formats|1.50|lab|'mph'\t\n  formats|tab\there|lab|'mph'\t\n"

    def test_records_may_end_with_nul(self, cli: CommandLine, history: list[str]) -> None:
        result = cli.run("tail", *history, "-0", "--template", "{value}")

        assert result.out == "1.5\0tab\there\0"

    def test_a_terminal_gets_aligned_lines_in_colour(
        self, cli: CommandLine, history: list[str]
    ) -> None:
        colored = cli.run_on_terminal("tail", *history)
        plain = cli.run_on_terminal("tail", *history, "--color", "never")

        assert "\x1b[" in colored.out
        assert "\x1b" not in plain.out
        day, first, second = plain.out.splitlines()
        assert re.fullmatch(r"-- \d{4}-\d\d-\d\d --", day)
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.000  formats  m0     1\.5 mph  room=lab", first)
        assert second.endswith("m1  tab\\x09here mph  room=lab")


class TestState:
    def test_the_next_run_goes_on_where_the_last_one_ended(
        self, daemon: DaemonProcess, http: httpx.Client, tmp_path: Path
    ) -> None:
        state = tmp_path / "state.json"
        chosen = ["-d", "kept", "-m", "n", "--state", str(state)]
        keep_place(daemon, *chosen[:4], state=state)
        send(http, "kept", "n", list(range(10)))
        found = []
        for number in ("3", "1", "4", "2"):
            with tailing(daemon, *chosen, "-n", number) as tail:
                assert tail.end() == 0
            found += [p["value"] for p in tail.points]
        with tailing(daemon, *chosen, "--idle", "1s") as rest:
            assert rest.end() == 0

        assert found + [p["value"] for p in rest.points] == list(range(10))
        assert json.loads(state.read_text())["telemetryctl"] == "tail"
        assert os.stat(state).st_mode & 0o777 == 0o600

    def test_history_goes_on_where_it_stopped(
        self, daemon: DaemonProcess, http: httpx.Client, tmp_path: Path
    ) -> None:
        for start in range(0, 25_000, 1000):
            send(http, "long", "n", list(range(start, start + 1000)))
        chosen = ["-d", "long", "--since", "1h", "--state", str(tmp_path / "s.json")]
        found = []
        for number in ("10500", "1", "12000", "2499"):
            with tailing(daemon, *chosen, "-n", number) as tail:
                assert tail.end() == 0
            found += [p["value"] for p in tail.points]
        with tailing(daemon, *chosen, "--idle", "1s") as rest:
            assert rest.end() == 0

        assert found + [p["value"] for p in rest.points] == list(range(25_000))

    def test_a_killed_tail_misses_nothing(
        self, daemon: DaemonProcess, http: httpx.Client, tmp_path: Path
    ) -> None:
        state = tmp_path / "s.json"
        chosen = ["-d", "killed", "-m", "n", "--state", str(state)]
        keep_place(daemon, *chosen[:4], state=state)
        numbers = iter(range(1_000_000))
        found: list[int] = []
        for _ in range(4):
            with tailing(daemon, *chosen) as tail:
                send(http, "killed", "n", [next(numbers)])
                tail.wait_for_lines(1)
                for _ in range(20):
                    send(http, "killed", "n", [next(numbers) for _ in range(10)])
                    time.sleep(0.05)
                tail.process.kill()
                tail.end()
            found += [p["value"] for p in tail.points]
        last = next(numbers)
        send(http, "killed", "n", [last])
        with tailing(daemon, *chosen) as rest:
            rest.wait(lambda: f'"value":{last},' in "".join(rest.out[-1:]), "last", WITHIN_S)
            rest.stop()
        found += [p["value"] for p in rest.points]

        assert sorted(set(found)) == list(range(last + 1))
        # Only what came in the last moments before a kill may have come twice.
        assert len(found) < 2 * last

    def test_another_selection_needs_another_state(
        self, daemon: DaemonProcess, cli: CommandLine, tmp_path: Path
    ) -> None:
        state = tmp_path / "s.json"
        keep_place(daemon, "-d", "a", state=state)

        result = cli.run("tail", "-d", "b", "--for", "500ms", "--state", str(state))

        assert result.code == 2
        assert "belongs to a tail of other" in result.err

    def test_two_tails_do_not_share_a_state(
        self, daemon: DaemonProcess, http: httpx.Client, cli: CommandLine, tmp_path: Path
    ) -> None:
        state = str(tmp_path / "s.json")
        with tailing(daemon, "-d", "shared", "--state", state) as tail:
            ready(tail, daemon, "shared")
            second = cli.run("tail", "-d", "shared", "--state", state)

        assert second.code == 75
        assert "another tail" in second.err


class TestTop:
    def test_the_busiest_come_first(
        self, daemon: DaemonProcess, http: httpx.Client, cli: CommandLine
    ) -> None:
        # What was sent long ago, or this very second, is not told.
        deadline_s = time.monotonic() + WITHIN_S
        names: list[str] = []
        while not {"busy", "calm"} <= set(names):
            assert time.monotonic() < deadline_s, names
            send(http, "busy", "top_a", list(range(500)))
            send(http, "calm", "top_b", [1])
            time.sleep(1.1)
            by_device = cli.run("top", "-n", "1", "--window", "30s", "-o", "json", "--limit", "100")
            by_metric = cli.run("top", "-n", "1", "--by", "metric", "--window", "30s")
            by_key = cli.run("top", "-n", "1", "--by", "key", "--window", "30s")
            names = [rate["name"] for rate in json.loads(by_device.out)["rates"]]

        assert names.index("busy") < names.index("calm")
        assert by_metric.out.splitlines()[0] == "name\tpoints_per_second\tpoints"
        assert "top_a" in by_metric.out
        assert by_key.out.splitlines()[0] == "name\tlabel\tpoints_per_second\tpoints"
        assert by_key.out.splitlines()[1].startswith("key_")

    def test_it_is_drawn_again_on_a_terminal(self, cli: CommandLine) -> None:
        result = cli.run_on_terminal("top", "-n", "2", "--interval", "200ms", "--window", "30s")

        assert result.code == 0
        assert "points/s over the last 30 s" in result.out
        assert result.out.count("\x1b[H") == 2

    def test_what_it_can_not_go_by_is_2(self, cli: CommandLine) -> None:
        assert cli.run("top", "--by", "colour").code == 2

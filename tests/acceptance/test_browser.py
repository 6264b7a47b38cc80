"""The page of examples/browser, and what browsers can do at the doors, in a real Chromium."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, Page, a_browser, served
from daemons import API, DaemonProcess, start_daemon, started
from databases import fresh_database
from receivers import free_port
from servers import PostgresServer
from stream_clients import STREAM, write
from stream_proxies import stream_proxy

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "browser"
DOCUMENT = ROOT / "docs" / "streaming.md"
VALUES = "[...document.querySelectorAll('#points tr')].map(row => row.children[3].textContent)"
SAID = "document.getElementById('state').textContent"
STATE = "document.getElementById('state').dataset.state"


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Where the page is served."""
    with served(EXAMPLE) as found:
        yield found


@pytest.fixture(scope="module")
def open_daemon(postgres: PostgresServer, origin: str) -> Iterator[DaemonProcess]:
    """A daemon that lets the page in."""
    dsn = asyncio.run(fresh_database(postgres))
    process = start_daemon(dsn, http__cors_origins=json.dumps([origin]))
    yield process
    process.stop()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with a_browser() as found:
        yield found


async def connected(
    browser: Browser, daemon: DaemonProcess, origin: str, *, device: str, sse: bool = False
) -> Page:
    """The page with its form sent."""
    page = await browser.page()
    await page.open(origin + "/")
    await send_form(page, daemon, device=device, sse=sse)
    return page


async def send_form(
    page: Page, daemon: DaemonProcess, *, device: str, sse: bool = False, url: str = ""
) -> None:
    for name, value in (("url", url or daemon.url), ("key", daemon.key), ("devices", device)):
        await page.run(f"document.getElementById('{name}').value = {json.dumps(value)}")
    await page.run(f"document.getElementById('sse').checked = {json.dumps(sse)}")
    await page.run("document.getElementById('connect').click()")


async def shown(page: Page, count: int) -> list[float]:
    """The values of the table in the order in which they came, once there are `count`."""
    await page.until(f"({VALUES}).length >= {count}")
    values: list[str] = await page.run(VALUES)
    return [float(value) for value in reversed(values)]


@pytest.mark.parametrize("sse", [False, True], ids=["websocket", "eventsource"])
async def test_the_page_shows_points_as_they_come(
    browser: Browser, open_daemon: DaemonProcess, origin: str, sse: bool
) -> None:
    device = f"shown-{sse}"
    page = await connected(browser, open_daemon, origin, device=device, sse=sse)
    await page.until(f"{STATE} === 'live'")
    await write(open_daemon, "other", 99)
    await write(open_daemon, device, 1.5, 2, unit="bar")
    await write(open_daemon, device, 3, unit="<b>bar</b>")

    assert await shown(page, 3) == [1.5, 2, 3]
    assert await page.text("#count") == "3"
    assert (await page.text("#points tr:last-child")).endswith("1.5bar")
    assert (await page.text("#points tr")).endswith("3<b>bar</b>")
    assert ("live by eventsource" if sse else "live by websocket") == await page.text("#state")
    assert page.complaints == []


async def test_the_key_is_in_no_address(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    page = await connected(browser, open_daemon, origin, device="d")
    await page.until(f"{STATE} === 'live'")

    assert any("ticket=" in url for url in page.requests)
    assert not any(open_daemon.key in url for url in page.requests)
    assert await page.run("location.search + location.hash + document.cookie") == ""
    assert await page.run("localStorage.length + sessionStorage.length") == 0


@pytest.mark.parametrize("sse", [False, True], ids=["websocket", "eventsource"])
async def test_a_restart_in_the_middle_loses_and_doubles_none(
    browser: Browser, dsn: str, origin: str, sse: bool
) -> None:
    allowed = json.dumps([origin])
    port = str(free_port())
    first = await started(dsn, http__cors_origins=allowed, server__port=port)
    page = await connected(browser, first, origin, device="r", sse=sse)
    await page.until(f"{STATE} === 'live'")
    await write(first, "r", *range(5))
    await shown(page, 5)
    await asyncio.to_thread(first.stop)
    await page.until(f"{STATE} === 'waiting'")
    # Written while the page is away, by a daemon at another place.
    meanwhile = await started(dsn, key=first.key)
    await write(meanwhile, "r", *range(5, 10))
    second = await started(
        dsn, home=first.home, key=first.key, http__cors_origins=allowed, server__port=port
    )
    await page.until(f"{STATE} === 'live'")
    await write(second, "r", *range(10, 15))
    values = await shown(page, 15)
    await asyncio.sleep(0.3)

    assert values == list(range(15))
    assert await page.text("#count") == "15"


async def test_a_kill_while_points_come_loses_and_doubles_none(
    browser: Browser, dsn: str, origin: str
) -> None:
    allowed = json.dumps([origin])
    port = str(free_port())
    first = await started(dsn, http__cors_origins=allowed, server__port=port)
    other = await started(dsn, key=first.key)
    page = await connected(browser, first, origin, device="k")
    await page.until(f"{STATE} === 'live'")
    is_enough = asyncio.Event()
    writing = asyncio.ensure_future(written_until(is_enough, other, "k"))
    await shown(page, 5)
    first.process.kill()
    await page.until(f"{STATE} === 'waiting'")
    await started(
        dsn, home=first.home, key=first.key, http__cors_origins=allowed, server__port=port
    )
    await page.until(f"{STATE} === 'live'")
    is_enough.set()
    count = await writing

    assert await shown(page, count) == list(range(count))
    assert await page.text("#count") == str(count)


async def written_until(is_enough: asyncio.Event, daemon: DaemonProcess, device: str) -> int:
    """Values from 0 on, one after the other; returns how many."""
    count = 0
    # The page shows so many.
    while not is_enough.is_set() and count < 200:
        await write(daemon, device, count)
        count += 1
        await asyncio.sleep(0.1)
    return count


async def hurried(page: Page) -> None:
    """It need not wait before it tries again: the network always just came back."""
    await page.run("setInterval(() => dispatchEvent(new Event('online')), 50) && null")


async def test_where_no_websocket_gets_through_it_takes_events(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    with stream_proxy(open_daemon.url) as proxy:
        proxy.allows_websocket = False
        page = await browser.page()
        await page.open(origin + "/")
        await hurried(page)
        await send_form(page, open_daemon, device="fallback", url=proxy.url)
        await page.until(f"{SAID} === 'live by eventsource'")
        await write(open_daemon, "fallback", 1, 2)
        values = await shown(page, 2)
        proxy.cut()
        await write(open_daemon, "fallback", 3)

        assert values == [1, 2]
        assert await shown(page, 3) == [1, 2, 3]


async def test_where_no_stream_gets_through_it_asks_and_then_goes_on_live(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    with stream_proxy(open_daemon.url) as proxy:
        proxy.allows_websocket = False
        page = await browser.page()
        await page.open(origin + "/")
        await hurried(page)
        await page.run(
            f"""import("./live.js").then(({{ LiveStream }}) => {{
              const stream = new LiveStream({{url: "{proxy.url}", key: "{open_daemon.key}",
                filters: {{device_ids: "polled"}}, transports: ["websocket"]}});
              window.values = []; window.states = [];
              stream.addEventListener("points", ({{ detail }}) =>
                window.values.push(...detail.points.map(point => point.value)));
              stream.addEventListener("state", ({{ detail }}) => window.states.push(detail.state));
              stream.run();
            }})"""
        )
        await page.until("states.includes('polling')")
        await write(open_daemon, "polled", 1, 2)
        await page.until("values.length === 2")
        proxy.allows_websocket = True
        await page.until("states.at(-1) === 'live'")
        await write(open_daemon, "polled", 3)
        await page.until("values.length >= 3")

        assert await page.run("values") == [1, 2, 3]


async def test_a_page_of_another_origin_is_refused(
    browser: Browser, open_daemon: DaemonProcess
) -> None:
    with served(EXAMPLE) as other:
        page = await connected(browser, open_daemon, other, device="d")
        said = await page.until(f"{STATE} === 'waiting' && {SAID}")
        socket = await web_socket(page, open_daemon, "/ws?token=" + open_daemon.key)
        source = await event_source(page, open_daemon, "token=" + open_daemon.key)

    assert "cors_origins" in said
    assert socket == {"code": 1006, "frames": [], "protocol": ""}
    assert source == []


async def test_a_wrong_key_ends_it_with_a_word(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    page = await browser.page()
    await page.open(origin + "/")
    wrong = DaemonProcess(open_daemon.process, open_daemon.home, url=open_daemon.url, key="tlm_no")
    await send_form(page, wrong, device="")
    await page.until(f"{STATE} === 'refused'")

    assert await page.run("document.getElementById('stop').disabled")


async def web_socket(
    page: Page, daemon: DaemonProcess, path: str, *, protocols: list[str] | None = None,
    first: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A native WebSocket until its first frame or its end, and the protocol it settled on."""
    url = daemon.url.replace("http", "ws", 1) + path
    script = """new Promise((resolve) => {
      const socket = new WebSocket(%s, %s), frames = [];
      const done = (code) => resolve({code, frames, protocol: socket.protocol});
      socket.onopen = () => { if (%s) socket.send(JSON.stringify(%s)); };
      socket.onmessage = ({data}) => { frames.push(JSON.parse(data)); done(0); socket.close(); };
      socket.onclose = ({code}) => done(code);
    })"""
    first_text = json.dumps(first)
    said = (json.dumps(url), json.dumps(protocols or []), first_text, first_text)
    answer: dict[str, Any] = await page.run(script % said)
    return answer


async def event_source(page: Page, daemon: DaemonProcess, query: str) -> list[dict[str, Any]]:
    """A native EventSource: its first two frames, or none."""
    script = """new Promise((resolve) => {
      const source = new EventSource(%s), frames = [];
      const take = ({data}) => {
        frames.push(JSON.parse(data));
        if (frames.length == 2) { source.close(); resolve(frames); }
      };
      source.addEventListener("welcome", take);
      source.addEventListener("subscribed", take);
      source.onerror = () => { source.close(); resolve(frames); };
    })"""
    answer: list[dict[str, Any]] = await page.run(
        script % json.dumps(f"{daemon.url}{STREAM}/telemetry?{query}")
    )
    return answer


async def test_a_browser_shows_its_key_by_subprotocol(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    page = await browser.page()
    await page.open(origin + "/")
    coded = base64.urlsafe_b64encode(open_daemon.key.encode()).decode().rstrip("=")
    protocols = ["telemetry.v1", f"base64url.bearer.telemetry.{coded}"]
    answer = await web_socket(page, open_daemon, "/ws", protocols=protocols)

    assert (answer["code"], answer["protocol"]) == (0, "telemetry.v1")
    assert answer["frames"][0]["type"] == "welcome"


async def test_a_browser_shows_its_key_by_its_first_message(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    page = await browser.page()
    await page.open(origin + "/")
    first = {"action": "auth", "token": open_daemon.key}
    answer = await web_socket(page, open_daemon, "/ws", protocols=["telemetry.v1"], first=first)
    refused = await web_socket(page, open_daemon, "/ws", first=first | {"token": "tlm_wrong"})

    assert answer["frames"][0]["type"] == "welcome"
    assert refused["frames"][0]["error"]["code"] == "AUTH_REQUIRED"


async def test_an_event_source_takes_a_ticket_once(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    page = await browser.page()
    await page.open(origin + "/")
    # A page gets its ticket itself, past the preflight.
    ticket = await page.run(
        f"""fetch({json.dumps(open_daemon.url + API + "/tickets")}, {{method: "POST", headers: {{
          Authorization: "Bearer {open_daemon.key}"}}}}).then(a => a.json()).then(a => a.ticket)"""
    )
    frames = await event_source(page, open_daemon, f"ticket={ticket}")
    again = await event_source(page, open_daemon, f"ticket={ticket}")

    assert [frame["type"] for frame in frames] == ["welcome", "subscribed"]
    assert again == []


async def test_the_least_that_works_as_the_document_shows_it(
    browser: Browser, open_daemon: DaemonProcess, origin: str
) -> None:
    [program] = re.findall(r"^```js\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    page = await browser.page()
    await page.open(origin + "/")
    await page.run(
        f"""(async () => {{
          window.values = [];
          const key = "{open_daemon.key}", api = "{open_daemon.url + API}";
          const show = (points) => values.push(...points.map(point => point.value));
          let cursor = "";
          {program}
          await new Promise((resolve) => socket.addEventListener("message", ({{ data }}) =>
            JSON.parse(data).type === "subscribed" && resolve()));
        }})()"""
    )
    await write(open_daemon, "boiler_1", 1, 2)
    await page.until("values.length >= 2")

    assert await page.run("values") == [1, 2]

"""A real headless Chromium, driven by the DevTools protocol, and a plain server for its pages."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

MISSING = "Chromium is not installed (apt-get install chromium)"
START_WITHIN_S = 120.0
ANSWER_WITHIN_S = 60.0
MESSAGE_BYTES_MAX = 64 * 2**20
LEFT = ("navigated or closed", "context was destroyed", "Cannot find context")
"""Parts of what is said of a page that is being left."""
FLAGS = (
    "--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--disable-gpu",
    "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions",
    "--disable-default-apps", "--metrics-recording-only", "--password-store=basic",
)  # fmt: skip


def chromium() -> str:
    """Its program; skips the test when there is none."""
    own = Path("/usr/lib/chromium/chromium")
    found = str(own) if own.exists() else shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip(MISSING)
    return found


class PageLeft(AssertionError):
    """The page that was asked is not there any more, or the one to come is not there yet."""


class Page:
    """One tab. `requests` are the addresses it asked for, `complaints` its errors and warnings."""

    def __init__(self, browser: Browser, session_id: str) -> None:
        self._browser = browser
        self._session_id = session_id
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._browser.call(method, session_id=self._session_id, **parameters)

    async def open(self, url: str) -> None:
        """Go there, and wait until its scripts have run."""
        said = await self.call("Page.navigate", url=url)
        assert "errorText" not in said, f"{url}: {said['errorText']}"
        await self.until(f"location.href === {json.dumps(url)} && document.readyState==='complete'")

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited in the page."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise AssertionError(json.dumps(answer["exceptionDetails"])[:2_000])
        return answer["result"].get("value")

    async def until(self, script: str, *, within_s: float = 90) -> Any:
        """The value of an expression once it is true."""
        deadline = time.monotonic() + within_s
        while not (value := await self._run_if_there(script)):
            if time.monotonic() > deadline:
                text = await self.run("document.body.innerText")
                raise AssertionError(f"never true: {script}\n{text}\n{self.complaints}")
            await asyncio.sleep(0.05)
        return value

    async def _run_if_there(self, script: str) -> Any:
        """The same; None while one page makes room for the next."""
        try:
            return await self.run(script)
        except PageLeft:
            return None

    async def text(self, selector: str) -> str:
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def take(self, method: str, said: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(said["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["exceptionDetails"])[:500])
            case "Log.entryAdded" if said["entry"]["level"] in ("error", "warning"):
                self.complaints.append(said["entry"]["text"])


class Browser:
    """The connection to its debugging port."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}

    async def listen(self) -> None:
        async for text in self._socket:
            said = json.loads(text)
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if not answer.done():
                    answer.set_result(said)
            elif said.get("sessionId") in self._pages:
                self._pages[said["sessionId"]].take(said["method"], said["params"])

    async def call(
        self, method: str, *, session_id: str | None = None, **parameters: Any
    ) -> dict[str, Any]:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        said = {"id": number, "method": method, "params": parameters}
        if session_id is not None:
            said["sessionId"] = session_id
        await self._socket.send(json.dumps(said))
        answer = await asyncio.wait_for(self._answers[number], ANSWER_WITHIN_S)
        if "error" in answer:
            is_left = any(part in answer["error"]["message"] for part in LEFT)
            raise (PageLeft if is_left else AssertionError)(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def page(self) -> Page:
        """A new tab in a profile of its own."""
        profile = await self.call("Target.createBrowserContext")
        made = await self.call("Target.createTarget", url="about:blank", **profile)
        attached = await self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Network", "Log"):
            await page.call(f"{domain}.enable")
        return page


@asynccontextmanager
async def a_browser() -> AsyncIterator[Browser]:
    """A Chromium of its own, ended with all that it started."""
    program = chromium()
    home = Path(tempfile.mkdtemp(prefix="chromium-"))
    process = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={home}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home)},
    )  # fmt: skip
    try:
        url = await _debugging_url(home, process)
        async with (
            connect(
                url,
                max_size=MESSAGE_BYTES_MAX,
                compression=None,
                ping_interval=None,
                open_timeout=START_WITHIN_S,
            ) as socket,
            asyncio.TaskGroup() as tasks,
        ):
            browser = Browser(socket)
            listening = tasks.create_task(browser.listen())
            yield browser
            listening.cancel()
    finally:
        os.killpg(process.pid, 9)
        process.wait(60)
        shutil.rmtree(home, ignore_errors=True)


async def _debugging_url(home: Path, process: subprocess.Popen[bytes]) -> str:
    """It writes its port and path there as soon as it listens."""
    written = home / "DevToolsActivePort"
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        lines = written.read_text().split() if written.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.05)
    raise AssertionError(f"Chromium did not start; exit {process.poll()}")


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder as `python3 -m http.server` shows it; gives its origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()

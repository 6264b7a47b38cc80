"""The pages that show the API: they work without any other host, under a strict policy."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from browser import Browser, a_browser
from daemons import DaemonProcess, started

from daemon.transport.docs_pages import ASSETS, REDOC_START, SWAGGER_START

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
PAGES = ("/api/docs", "/api/redoc")
# React hears of a value only when it is set as a browser does.
TYPE_KEY = """(() => {
  const field = document.querySelector('.auth-container input');
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, 'KEY');
  field.dispatchEvent(new Event('input', {bubbles: true}));
})()"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with a_browser() as found:
        yield found


@pytest.mark.parametrize(("path", "shown"), [
    ("/api/docs", "document.querySelectorAll('.opblock-tag-section').length > 10"),
    ("/api/redoc", "document.querySelectorAll('[data-section-id]').length > 90"),
])  # fmt: skip
async def test_a_page_shows_the_api_and_asks_nobody_else(
    browser: Browser, daemon: DaemonProcess, path: str, shown: str
) -> None:
    page = await browser.page()

    await page.open(daemon.url + path)
    await page.until(shown)

    asked = [url for url in page.requests if not url.startswith(("data:", "blob:"))]
    assert asked
    assert {httpx.URL(url).copy_with(path="/", query=None) for url in asked} == {
        httpx.URL(daemon.url + "/")
    }
    assert page.complaints == []


async def test_swagger_tries_a_call_with_a_key(browser: Browser, daemon: DaemonProcess) -> None:
    page = await browser.page()
    await page.open(daemon.url + "/api/docs")
    await page.until("!!document.querySelector('.btn.authorize')")

    await page.run("document.querySelector('.btn.authorize').click()")
    await page.until("!!document.querySelector('.auth-container input')")
    await page.run(TYPE_KEY.replace("KEY", daemon.key))
    await page.run("document.querySelector('.auth-btn-wrapper .authorize').click()")
    await page.run("document.querySelector('.auth-btn-wrapper .btn-done').click()")
    for step in ("#operations-tag-auth button", "[id$='-whoami'] .opblock-summary-control",
                 ".try-out__btn", ".btn.execute"):  # fmt: skip
        await page.until(f"!!document.querySelector({json.dumps(step)})")
        await page.run(f"document.querySelector({json.dumps(step)}).click()")
    status = ".live-responses-table tbody .response-col_status"
    await page.until(f"!!document.querySelector({json.dumps(status)})")

    assert (await page.text(status)).startswith("200")
    assert page.complaints == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_may_load_nothing_from_elsewhere(daemon: DaemonProcess, path: str) -> None:
    answer = httpx.get(daemon.url + path)

    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert not re.findall(r"https?://|//\w", answer.text)
    assert "<script>" not in answer.text


def test_its_files_are_sent_as_they_are_kept(daemon: DaemonProcess) -> None:
    for path in ("docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "redoc/redoc.standalone.js"):
        stored = (ASSETS / f"{path.rpartition('/')[2]}.gz").read_bytes()
        url = f"{daemon.url}/api/{path}"
        packed = httpx.get(url, headers={"Accept-Encoding": "gzip"})
        plain = httpx.get(url, headers={"Accept-Encoding": "identity"})
        again = httpx.get(url, headers={"If-None-Match": packed.headers["etag"]})

        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["content-length"] == str(len(stored))
        assert "content-encoding" not in plain.headers
        assert packed.content == plain.content == gzip.decompress(stored)
        assert packed.headers["etag"] != plain.headers["etag"]
        assert packed.headers["vary"] == "Accept-Encoding"
        assert (again.status_code, again.content) == (304, b"")


def test_the_document_is_sent_again_only_when_it_changed(daemon: DaemonProcess) -> None:
    url = daemon.url + "/api/openapi.json"
    first = httpx.get(url)

    again = httpx.get(url, headers={"If-None-Match": first.headers["etag"]})

    assert first.json()["openapi"].startswith("3.1")
    assert again.status_code == 304


def test_the_document_is_the_same_in_every_coding(daemon: DaemonProcess) -> None:
    url = daemon.url + "/api/openapi.json"
    plain = httpx.get(url, headers={"Accept-Encoding": "identity"})

    for accepted, coding in (("gzip", "gzip"), ("br, zstd;q=0.5, gzip;q=0.1", "zstd")):
        packed = httpx.get(url, headers={"Accept-Encoding": accepted})

        assert packed.headers["content-encoding"] == coding
        assert packed.content == plain.content
        assert packed.headers["etag"] != plain.headers["etag"]
        assert packed.headers["vary"] == "Accept-Encoding"
        assert int(packed.headers["content-length"]) < len(plain.content) / 5
    assert plain.headers["content-length"] == str(len(plain.content))


def test_pages_are_only_read(daemon: DaemonProcess) -> None:
    for path in (*PAGES, "/api/openapi.json", "/api/docs/swagger-ui.css"):
        refused, asked = httpx.post(daemon.url + path), httpx.head(daemon.url + path)

        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        assert refused.json()["code"] == "method_not_allowed"
        assert (asked.status_code, asked.content) == (200, b"")


def test_what_came_with_the_daemon_is_what_was_fetched() -> None:
    listed = json.loads((ASSETS / "assets.json").read_text())

    there = {file.name for file in ASSETS.iterdir()} - {"assets.json"}
    found = {name: hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() for name in there}
    assert found == listed["sha256"]
    assert {"swagger-ui.LICENSE.txt", "redoc.LICENSE.txt"} <= there
    assert sum((ASSETS / name).stat().st_size for name in there) < 900_000


def test_the_pages_start_with_what_is_here() -> None:
    for script in (SWAGGER_START, REDOC_START):
        assert "http" not in script
        assert '"openapi.json"' in script


async def test_without_docs_there_is_nothing(dsn: str) -> None:
    daemon = await started(dsn, http__docs="false")

    async with httpx.AsyncClient(base_url=daemon.url) as http:
        for path in (*PAGES, "/api/openapi.json", "/api/docs/start.js", "/api/docs/swagger-ui.css"):
            answer = await http.get(path)
            assert answer.status_code == 404, path
            assert answer.headers["content-type"] == "application/problem+json"
        allowed = await http.post("/health")

    assert allowed.status_code == 405
    assert allowed.headers["allow"] == "GET, HEAD"

"""What documents name exists: pages, commands and their options, paths, settings, calls."""

from __future__ import annotations

import functools
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from documents import ROOT, text_of

from daemon.cli import app as daemon_app
from daemon.config import Config
from daemon.reloading import AT_ONCE
from telemetryctl import tree

WRITTEN = sorted(
    str(path.relative_to(ROOT))
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
)
PAGES = [page for page in WRITTEN if page != "docs/cli.md"]
"""docs/cli.md is written from the commands themselves."""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors_of(text: str) -> set[str]:
    """The places of a page that links can name, as GitHub makes them of titles."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", WRITTEN)
def test_every_link_leads_somewhere(page: str) -> None:
    broken = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", text_of(page))):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if "://" in link:
            continue
        if not target.exists() or (
            anchor and target.suffix == ".md" and anchor not in anchors_of(target.read_text())
        ):
            broken.append(link)

    assert broken == []


def test_a_reader_is_led_to_every_page() -> None:
    index = text_of("README.md")

    assert {page for page in WRITTEN if page.startswith("docs/") and page not in index} == set()


# -- commands ------------------------------------------------------------------------------------


@functools.cache
def root_of(program: str) -> Any:
    return typer.main.get_command(tree.app if program == "telemetryctl" else daemon_app)


def commands_of(text: str) -> Iterator[str]:
    """Command lines of both programs: in blocks, and in backticks of the text."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    code = [block for language, block in fenced if language in ("", "sh", "cron", "text", "ini")]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in code for line in block.replace("\\\n", " ").splitlines()]
    for piece in _parts([*lines, *re.findall(r"`([^`]+)`", prose)]):
        for found in re.finditer(r"(?<![\w./-])telemetry(?:ctl|d) [a-z][^|;&><#)]*", piece):
            yield found[0]


def _parts(lines: list[str]) -> Iterator[str]:
    """Lines, and before each what is substituted in it: `$(…)`, from the inside out."""
    for line in lines:
        while inner := re.search(r"\$\(([^()]*)\)", line):
            yield inner[1]
            line = line.replace(inner[0], "X")
        yield line


def mistake_in(line: str) -> str:
    """What of a command line does not exist; empty when all of it does."""
    try:
        program, *words = shlex.split(line.replace("…", "").replace("'", '"'))
    except ValueError:
        program, *words = line.split()
    command = root_of(program)
    context = command.make_context(program, [], resilient_parsing=True)
    while words and hasattr(command, "commands"):
        word = words[0]
        if word.startswith("-"):
            break
        # `check health|ingest` and `key ls` are both how commands are told of.
        found = [command.get_command(context, one) for one in word.split("|")]
        if None in found:
            return f"no command {word}"
        command, words = found[0], words[1:]
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
    known = {name for p in command.get_params(context) for name in (*p.opts, *p.secondary_opts)}
    if context.ignore_unknown_options:
        return ""
    given = {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z0]", word)}
    if unknown := given - known - {"--help", "-h", "--version"}:
        return f"no option {', '.join(sorted(unknown))}"
    return ""


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_one(page: str) -> None:
    lines = list(commands_of(text_of(page)))

    assert [(line, wrong) for line in lines if (wrong := mistake_in(line))] == []


def test_a_command_that_is_none_is_found() -> None:
    block = '```sh\ntelemetryctl ls "$(telemetryctl key ls --names)"\n```\n'
    text = f"`telemetryctl key sell x`, `telemetryd db backup FILE --fast`\n{block}"

    assert [mistake_in(line) for line in commands_of(text)] == [
        "no option --names", "no command ls", "no command sell", "no option --fast",
    ]  # fmt: skip


# -- paths, settings, calls ----------------------------------------------------------------------

TOP = {path.name for path in ROOT.iterdir()} - {".git"}
FOLDERS = [ROOT, ROOT / "daemon", ROOT / "telemetryctl"]


def test_every_path_of_the_architecture_exists() -> None:
    text = text_of("docs/architecture.md")
    named = {
        path for path in re.findall(r"`([\w./-]+\.(?:py|sql|md|toml)|[\w./-]+/)`", text)
        if not path.startswith("/")
    }  # fmt: skip
    # A name alone is told beside a folder: in the same row or sentence.
    files = {path.name for folder in TOP for path in (ROOT / folder).rglob("*.py")}

    assert len(named) > 40
    missing = {
        path for path in named
        if not any((folder / path).exists() for folder in FOLDERS)
        and not ("/" not in path and path in files)
    }  # fmt: skip
    assert missing == set()


def test_every_setting_that_is_named_exists() -> None:
    defaults: dict[str, dict[str, Any]] = Config().model_dump()
    unknown = set()
    for page in PAGES:
        text = text_of(page)
        named = re.findall(r"\[(\w+)\] (\w+)", text)
        named += [m.lower().split("__") for m in re.findall(r"TELEMETRY_([A-Z]+__[A-Z_]+)\b", text)]
        for section, key in named:
            if section in defaults and key not in defaults[section]:
                unknown.add((page, section, key))

    assert unknown == set()


def test_the_runbook_names_every_setting_that_a_reload_takes_and_every_rule() -> None:
    text = text_of("docs/operations.md")
    rules = re.findall(r"alert: (\w+)", text_of("deploy/prometheus/rules.yml"))

    assert {
        name for name in AT_ONCE
        if f"`{name}`" not in text and f"`{name.partition('.')[0]}.*`" not in text
    } == set()  # fmt: skip
    assert len(rules) > 8
    assert {rule for rule in rules if f"`{rule}`" not in text} == set()


def test_every_status_and_code_that_is_named_exists() -> None:
    """Such as `422 unknown_group`, in words or in backticks."""
    source = "\n".join(path.read_text() for path in (ROOT / "daemon").rglob("*.py"))
    document = text_of("docs/openapi.json")
    unknown, seen = set(), 0
    for page in PAGES:
        for status, code in re.findall(r"\b([45]\d\d) `([a-z]+(?:_[a-z]+)*)`", text_of(page)):
            seen += 1
            if f'"{code}"' not in source or f'"{status}"' not in document:
                unknown.add((page, status, code))

    assert seen > 15
    assert unknown == set()


def test_every_call_that_is_named_is_an_operation() -> None:
    paths = json.loads(text_of("docs/openapi.json"))["paths"]
    calls = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path.removeprefix("/api/v1/telemetry")))
        for path, methods in paths.items() for method in methods
    }  # fmt: skip
    further = {("GET", "/metrics"), ("GET", "/api/openapi.json")}
    unknown = set()
    for page in PAGES:
        for methods, path in re.findall(r"`([A-Z]+(?:\|[A-Z]+)*) (/[\w/{}.-]*)", text_of(page)):
            shape = re.sub(r"\{\w+\}", "{}", path)
            for method in methods.split("|"):
                is_call = method in ("GET", "POST", "PUT", "PATCH", "DELETE")
                if is_call and (method, shape) not in calls | further:
                    unknown.add((page, method, path))

    assert unknown == set()

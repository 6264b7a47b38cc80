"""Write what the server has as documents that `apply` takes."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from telemetryctl.client.errors import ServerProblem
from telemetryctl.failures import UsageFailure
from telemetryctl.files.atomic import write_whole
from telemetryctl.options import command, single
from telemetryctl.output.cells import dump_json
from telemetryctl.plans.kinds import KINDS, kind_of
from telemetryctl.plans.objects import Kind, Names
from telemetryctl.session import Session

app = single()


def complete_kinds(incomplete: str) -> list[str]:
    """Return the kinds that begin so."""
    return [word for word in KINDS if word.startswith(incomplete)]


@command(
    app,
    example="""telemetryctl dump > all.yaml
    telemetryctl dump rule channel -O rules/
    telemetryctl dump metric -o json""",
)
def dump(
    session: Session,
    *,
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KIND]…", help="metric, group, rule … [all]", autocompletion=complete_kinds
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("-O", "--out", metavar="DIR", help="A file for each object.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="yaml, json or jsonl. [yaml]")
    ] = None,
) -> None:
    """Write definitions, groups, channels, rules and silences as documents, without secrets."""
    if output not in (None, "yaml", "json", "jsonl"):
        raise UsageFailure(f'"{output}" can\'t hold documents', hint="yaml, json or jsonl")
    documents = _documents(session, [kind_of(word) for word in kinds or KINDS], bool(kinds))
    if folder is not None:
        _write_files(session, folder, documents, is_json=output in ("json", "jsonl"))
    elif output == "json":
        session.console.write(dump_json({"items": documents}, indent=2) + "\n")
    elif output == "jsonl":
        session.console.write("".join(dump_json(found) + "\n" for found in documents))
    else:
        from telemetryctl.yaml_text import dump_all

        session.console.write(dump_all(documents))


def _documents(session: Session, kinds: Sequence[Kind], is_asked: bool) -> list[dict[str, Any]]:
    """What there is of the kinds; a server without one of them has none of it."""
    client, names = session.client, Names()
    if any(kind.word in ("group", "rule") for kind in kinds):
        KINDS["group"].read(client, names)
    found = []
    for kind in dict.fromkeys(kinds):
        try:
            rows = kind.read(client, names)
        except ServerProblem as problem:
            if problem.status != 404 or is_asked:
                raise problem.during(f"{kind.key} can't be read") from problem
            continue
        times_named = Counter(row.name for row in rows)
        for row in rows:
            if not row.name or times_named[row.name] > 1:
                session.console.note(
                    f'note: {kind.word} {row.object_id} is left out: "{row.name}" is no name'
                    " of its own"
                )
            else:
                found.append(kind.document(kind.complete(client, row)))
    return found


def _write_files(
    session: Session, folder: Path, documents: Sequence[dict[str, Any]], *, is_json: bool
) -> None:
    from telemetryctl.yaml_text import dump_all

    folder.mkdir(parents=True, exist_ok=True)
    for document in documents:
        name = quote(f"{document['kind']}-{document['name']}", safe=" ()+,=@")
        text = json.dumps(document, indent=2) + "\n" if is_json else dump_all([document])
        path = folder / f"{name[:200]}.{'json' if is_json else 'yaml'}"
        write_whole(path, text.encode())
    session.console.note(f"{len(documents):,} documents in {folder}")

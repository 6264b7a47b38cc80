"""The limit of the command line: a typer app with one command that prints a version."""

from __future__ import annotations

import typer

app = typer.Typer(add_completion=False)


@app.command()
def version() -> None:
    typer.echo("bare 0.1.0")


if __name__ == "__main__":
    app()

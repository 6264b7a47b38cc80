"""The recipes of the offline help do what they say."""

from __future__ import annotations

from command_line import CommandLine


def cron_command(cli: CommandLine) -> str:
    """The command of `help cron`, as cron would give it to a shell."""
    text = cli.run("help", "cron").out
    start = text.index("15 * * * * ") + len("15 * * * * ")
    recipe = text[start : text.index("\n\n", start)].replace("\\\n", " ")
    return recipe.replace("telemetryctl", "$T", 1)


def test_the_cron_recipe_exports_new_points_and_is_quiet_without_any(cli: CommandLine) -> None:
    recipe = cron_command(cli)
    at_once = recipe.replace("--settle 5m", "--settle 0s")

    for _ in range(2):
        cli.run("write", "cron", "temperature=21.5", "-q")
        result = cli.run_shell(at_once)
        assert (result.code, result.out, result.err) == (0, "", "")
    quiet = cli.run_shell(recipe)

    files = sorted((cli.home / "data").glob("*.csv.gz"))
    exported = cli.run_shell("zcat ~/data/*.csv.gz | grep -c 'cron,temperature,21.5'")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert files
    assert exported.out == "2\n"


def test_a_unit_gives_the_key_by_its_credentials_folder(cli: CommandLine) -> None:
    script = """
        mkdir -p $HOME/credentials
        $T key create unit --scope read -q > $HOME/credentials/telemetryctl-token
        CREDENTIALS_DIRECTORY=$HOME/credentials $T whoami --fields name --no-headers
    """

    assert cli.run_shell(script).out == "unit\n"

"""Entry point of `telemetryctl`; `--version` is answered before anything slow is imported."""

import sys


def main() -> None:
    """Run one command and exit with its code."""
    from telemetryctl.failures import ExitCode

    if sys.argv[1:] == ["--version"] and sys.stdout is not None:
        from telemetryctl import __version__

        try:
            sys.stdout.write(f"telemetryctl {__version__}\n")
            sys.stdout.flush()
        except OSError:
            # The full path knows what to do about a closed or a full stdout.
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - lives to the end
        else:
            sys.exit(ExitCode.DONE)
    from telemetryctl.interrupts import die_of_interrupt

    die_of_interrupt()
    from telemetryctl.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

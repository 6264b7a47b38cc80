"""Completion scripts for shells; what they offer is decided in telemetryctl.completion."""

from typing import Annotated

import typer

from telemetryctl.failures import UsageFailure
from telemetryctl.options import command, single
from telemetryctl.session import Session

app = single()

SHELLS = ("bash", "zsh", "fish")
_SCRIPTS = {
    "bash": """\
_telemetryctl() {
    # Bash splits words at : and =, which ids have, so the line is split again, at spaces only.
    local line=${COMP_LINE:0:COMP_POINT} words current prefix
    read -ra words <<< "$line"
    [[ $line == *' ' ]] && words+=("")
    current=${words[-1]}
    local IFS=$'\\n'
    COMPREPLY=( $( COMP_WORDS="$line" COMP_CWORD=$(( ${#words[@]} - 1 )) \\
        _TELEMETRYCTL_COMPLETE=complete_bash "$1" 2>/dev/null ) )
    [[ $current == -*=* ]] && current=${current#*=}
    prefix=${current%"${current##*[:=]}"}
    COMPREPLY=( "${COMPREPLY[@]#"$prefix"}" )
}
complete -o default -F _telemetryctl telemetryctl
""",
    "zsh": """\
#compdef telemetryctl
_telemetryctl() {
    eval "$(_TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" \\
        _TELEMETRYCTL_COMPLETE=complete_zsh telemetryctl 2>/dev/null)"
}
compdef _telemetryctl telemetryctl
""",
    "fish": """\
function __telemetryctl
    _TELEMETRYCTL_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] \\
        _TYPER_COMPLETE_ARGS=(commandline -cp) telemetryctl 2>/dev/null
end
complete --command telemetryctl --no-files \\
    --arguments "(__telemetryctl get-args)" --condition "__telemetryctl is-args"
""",
}


@command(
    app,
    example="""source <(telemetryctl completion bash)
    telemetryctl completion fish > ~/.config/fish/completions/telemetryctl.fish""",
)
def completion(
    session: Session, *, shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")]
) -> None:
    """Print the completion script of a shell."""
    if shell not in SHELLS:
        raise UsageFailure(f'there is no completion for "{shell}"', hint=", ".join(SHELLS))
    session.console.write(_SCRIPTS[shell])

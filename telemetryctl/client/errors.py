"""What a server's refusal means for a command: problem+json becomes a failure with exit code."""

import json
from datetime import timedelta
from typing import Any, Self

from telemetryctl.failures import ExitCode, Failure
from telemetryctl.times import format_duration

_EXIT_CODES: dict[int, ExitCode] = {
    400: ExitCode.REFUSED,
    401: ExitCode.NOT_ALLOWED,
    403: ExitCode.NOT_ALLOWED,
    404: ExitCode.NOTHING,
    409: ExitCode.REFUSED,
    413: ExitCode.REFUSED,
    415: ExitCode.REFUSED,
    422: ExitCode.REFUSED,
    429: ExitCode.TRY_LATER,
    502: ExitCode.TRY_LATER,
    503: ExitCode.TRY_LATER,
    504: ExitCode.TRY_LATER,
}
_HINTS = {
    401: "telemetryctl login URL --token-stdin, or telemetryctl help auth",
    403: "telemetryctl whoami shows what the key may do",
    429: "send less, or wait as long as the server says",
    503: "telemetryctl status",
}
FIELD_PROBLEMS_MAX = 5


class ServerProblem(Failure):
    """An answer that is not a success.

    `problem` holds the members of RFC 9457 (and those of a batch answer, if it was one); `code`
    is empty when the answer was no problem+json.
    """

    def __init__(self, status: int, *, problem: dict[str, Any], request_id: str = "") -> None:
        request = f" (request {request_id})" if request_id else ""
        self.status = status
        self.problem = problem
        self.code = str(problem.get("code") or "")
        answer = " ".join(filter(None, (str(status), self.code)))
        super().__init__(
            str(problem["detail"]),
            why="\n".join([f"the server answered {answer}{request}", *_field_lines(problem)]),
            hint=_hint(status, problem),
        )
        is_redirect = 300 <= status < 400
        default = ExitCode.CONFIGURATION if is_redirect else ExitCode.INTERNAL
        self.exit_code = _EXIT_CODES.get(status, default)

    @property
    def detail(self) -> str:
        """What is wrong, in one sentence."""
        return str(self.problem["detail"])

    def during(self, what: str) -> Self:
        """Return the same problem, saying first what did not happen because of it."""
        self.what = f"{what}: {self.what}"
        return self


def _hint(status: int, problem: dict[str, Any]) -> str:
    """What to type next; of a limit, when."""
    wait_s = problem.get("retry_after")
    if status == 429 and isinstance(wait_s, int) and 0 < wait_s < 10**9:
        return f"try again in {format_duration(timedelta(seconds=wait_s))}"
    return _HINTS.get(status, "")


def _field_lines(problem: dict[str, Any]) -> list[str]:
    errors = problem.get("errors")
    if not isinstance(errors, list):
        return []
    lines = [_field_line(error) for error in errors if isinstance(error, dict)]
    more = (
        [f"and {len(lines) - FIELD_PROBLEMS_MAX} more"] if len(lines) > FIELD_PROBLEMS_MAX else []
    )
    return [*lines[:FIELD_PROBLEMS_MAX], *more]


def _field_line(error: dict[str, Any]) -> str:
    place = error.get("pointer", error.get("index", ""))
    code = f" ({error['code']})" if error.get("code") else ""
    return f"{place}: {error.get('detail', '')}{code}".removeprefix(": ")


def read_problem(
    status: int, *, body: bytes, content_type: str, request_id: str = "", retry_after: str = ""
) -> ServerProblem:
    """Return the problem that a body holds; another kind of body is not shown, only named.

    `retry_after` is what the header says, for a body that does not.
    """
    problem: Any = None
    if "json" in content_type:
        try:
            problem = json.loads(body)
        except ValueError:
            problem = None
    if not isinstance(problem, dict):
        kind = content_type.partition(";")[0] or "nothing"
        problem = {"detail": f"the server answered {status} with {kind} instead of a reason"}
    if not isinstance(problem.get("detail"), str):
        problem = {**problem, "detail": str(problem.get("title") or f"status {status}")}
    if retry_after and "retry_after" not in problem:
        seconds = int(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
        problem = {**problem, "retry_after": retry_after if seconds is None else seconds}
    return ServerProblem(status, problem=problem, request_id=request_id)

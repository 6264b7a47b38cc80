"""Error answers (RFC 9457 problem+json) of every endpoint."""

from pydantic import Field

from telemetryctl.api.model import Answer

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldProblem(Answer):
    """One thing wrong with one place of the request, named by a JSON pointer (RFC 6901)."""

    pointer: str
    code: str
    detail: str


class Problem(Answer):
    """Why a request was not done; `detail` is one sentence for a person, `code` is for programs."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None = None
    errors: list[FieldProblem] | None = None
    retry_after: int | None = Field(default=None, description="seconds")

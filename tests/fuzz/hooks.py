"""What schemathesis has to know about this API: formats, the credential that it must not end, and
refusals that no schema can foretell.

Loaded by `st run` (tests/fuzz/schemathesis.toml), in a process of its own.
"""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import RejectedPositiveData

from daemon.domain.page_cursors import PageCursor

_TIMES = {"too_old", "in_future"}
_GROUP = {"unknown_group"}
_RULE = {"missing", "bad_value", "unknown_group", "conflict"}
# What fits its schema may still be impossible: 422, or 400 in a query (contract 1). The codes by
# which each operation may say so; what a schema could have said (`string_pattern_mismatch` …) is
# none of them, and an operation that is not here has no such excuse.
IMPOSSIBLE: dict[str, set[str]] = {}


schemathesis.openapi.format(
    "page-cursor",
    st.builds(lambda us: str(PageCursor(us, "d", "m")), st.integers(-(2**61), 2**61)),
)
schemathesis.openapi.format(
    "iana-timezone", st.sampled_from(["UTC", "Europe/Vienna", "Asia/Kolkata", "America/New_York"])
)


@schemathesis.hook
def map_query(context: HookContext, query: dict[str, Any] | None) -> dict[str, Any] | None:
    """Nobody waits for points that never come."""
    if query and isinstance(query.get("wait"), int | float) and query["wait"] > 0:
        query["wait"] = min(query["wait"], 0.01)
    return query


@schemathesis.hook
def filter_case(context: HookContext, case: Case) -> bool:
    """Not the key that the run itself uses: without it nothing else could be tried."""
    own = os.environ.get("FUZZ_KEY_ID", "")
    return not own or (case.path_parameters or {}).get("key_id") != own


@schemathesis.hook
def filter_failure(
    context: HookContext, failure: Failure, case: Case, response: Response
) -> bool:
    """Whether the failure counts."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (400, 422):
        return True
    problem = json.loads(response.content)
    codes = {problem.get("code"), *(e["code"] for e in problem.get("errors") or ())} - {"invalid"}
    return not codes or not codes <= IMPOSSIBLE.get(_operation_id(case), set())


def _operation_id(case: Case) -> str:
    definition: dict[str, Any] = case.operation.definition.raw
    return str(definition.get("operationId"))

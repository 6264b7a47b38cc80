"""What schemathesis has to know about this API: formats, the credential that it must not end, and
refusals that no schema can foretell.

Loaded by `st run` (tests/fuzz/schemathesis.toml), in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.hooks import HookContext
from schemathesis.openapi.checks import RejectedPositiveData

from daemon.domain.list_cursors import list_cursor
from daemon.domain.page_cursors import PageCursor

# What fits its schema may still be impossible: 422, or 400 in a query (contract 1). The codes by
# which each operation may say so; what a schema could have said (`string_pattern_mismatch` …) is
# none of them, and an operation that is not here has no such excuse.
_POINT = {"too_old", "in_future", "bad_value", "unknown_type", "out_of_bounds", "bad_timestamp"}
_FILTER = {"unknown_group", "too_many_names"}
_RULE = {"missing", "bad_value", "unknown_group", "never_true", "unknown_channel"}
# A port of 25.0 is an integer to JSON schema, not to us.
_CHANNEL = {"unknown_field", "missing", "bad_value", "unknown_channel", "int_type"}
_GROUP = {"unknown_group", "unknown_device", "cycle"}
IMPOSSIBLE: dict[str, set[str]] = {
    "write_point": _POINT,
    "write_batch": _POINT | {"bad_compression"},  # it has to agree with a header
    "write_bulk": _POINT,
    "write_columns": _POINT | {"bad_body"},  # columns of different lengths
    "read_aggregated": {"bad_range", "too_many_buckets", "bad_interval"},
    "read_range": {"too_many_buckets", "interval_alone"},
    "query": {"bad_range", "too_many_buckets", "interval_alone", "unknown_group", "truncated"},
    "list_changes": _FILTER,
    # Either names and both times or a cursor: OpenAPI has no words for that of parameters.
    "export_csv": _FILTER | {"malformed", "bad_range", "nothing_named"},
    # South below north, west and east on the earth.
    "list_devices": _FILTER | {"malformed"},
    "list_latest": _FILTER | {"malformed", "too_many_devices"},
    "list_groups": {"bad_rollup"},
    "create_group": _GROUP,
    "change_group": _GROUP,
    "follow_stream": _FILTER | {"too_many"},
    "subscribe": _FILTER | {"unknown_channel"},
    "create_rule": _RULE,
    "change_rule": _RULE,
    "lint_rule": _RULE,
    "preview_rule": _RULE,
    "backtest_rule": _RULE | {"bad_range", "too_many_candidates"},
    "make_ticket": {"unknown_channel"},
    "create_job": {"unknown_type"},
    # Which settings a kind needs and takes.
    "create_channel": _CHANNEL,
    "change_channel": _CHANNEL,
    "create_metric": {"contradiction"},
    "change_metric": {"contradiction", "has_data"},
    "create_silence": {"bad_value"},
    "change_silence": {"bad_value"},
    "create_watch": {"bad_value"},
    "change_watch": {"bad_value"},
    # "0d" and "999999999w" are durations; a text of the right length is hardly ever a public key.
    "create_key": {"greater_than", "less_than_equal", "bad_signing_key"},
    "rotate_key": {"less_than_equal", "bad_signing_key"},
    "list_events": {"bad_type", "too_many_names"},  # one of over 128 characters
    "create_event": {"bad_type"},  # types that only the server tells
}
JOB_ID = re.compile("[0-9a-z_]{1,64}")
OWN_VALIDATOR = "value_error"
"""What pydantic calls a refusal by our own code: text with NUL, a window that ends before it
begins. No keyword of JSON schema has this code."""
PLACES = {"two_places", "bad_cursor"}
"""An offset and a cursor, where OpenAPI has no words for "either"; a cursor of another list."""


schemathesis.openapi.format(
    "page-cursor",
    st.builds(lambda us: str(PageCursor(us, "d", "m")), st.integers(-(2**61), 2**61)),
)
schemathesis.openapi.format("list-cursor", st.builds(list_cursor, st.integers(0, 2**31 - 1)))
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
def map_path_parameters(
    context: HookContext, path_parameters: dict[str, Any] | None
) -> dict[str, Any] | None:
    """A job that exists, in about half of the cases."""
    own = os.environ.get("FUZZ_JOB_ID", "")
    given = str((path_parameters or {}).get("job_id"))
    # What breaks the pattern is to be refused, so it stays.
    is_id = JOB_ID.fullmatch(given) is not None
    if path_parameters and own and is_id and len(given) % 2:
        path_parameters["job_id"] = own
    return path_parameters


@schemathesis.hook
def filter_case(context: HookContext, case: Case[Any]) -> bool:
    """Not the key that the run itself uses: without it nothing else could be tried."""
    own = os.environ.get("FUZZ_KEY_ID", "")
    return not own or (case.path_parameters or {}).get("key_id") != own


@schemathesis.hook
def filter_failure(
    context: HookContext, failure: Failure, case: Case[Any], response: Response
) -> bool:
    """Whether the failure counts."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (400, 422):
        return True
    problem = json.loads(response.content)
    codes = {problem.get("code"), *(e["code"] for e in problem.get("errors") or ())}
    codes -= {"invalid", "nothing_stored", OWN_VALIDATOR, *PLACES}
    return not codes <= IMPOSSIBLE.get(_operation_id(case), set())


def _operation_id(case: Case[Any]) -> str:
    definition: dict[str, Any] = case.operation.definition.raw
    return str(definition.get("operationId"))

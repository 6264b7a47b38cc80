"""Whatever PostgreSQL says goes to the log: of every class of errors, a client hears a plain
sentence (S-34)."""

from __future__ import annotations

import re

import pytest
from control import API, Control
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio

# One or more of each class (PostgreSQL manual, appendix A).
STATES = (
    "03000", "08000", "08006", "09000", "0A000", "0B000", "0F001", "0L000", "0P000", "0Z000",
    "20000", "21000", "22000", "22003", "22012", "22021", "22P02", "22P05", "23000", "23502",
    "23503", "23505", "23514", "24000", "25000", "25006", "25P02", "26000", "27000", "28000",
    "28P01", "2B000", "2D000", "2F000", "34000", "38000", "39000", "3B000", "3D000", "3F000",
    "40001", "40003", "40P01", "42000", "42501", "42601", "42703", "42P01", "44000", "53000",
    "53100", "53200", "53300", "54000", "54001", "55000", "55006", "55P03", "57000", "57014",
    "57P01", "57P03", "58000", "58030", "F0000", "HV000", "P0001", "XX000", "XX001", "XX002",
)  # fmt: skip
# The metric is called as the error that its insertion is to fail with.
TRIGGER = """
create function telemetry.fail_as_named() returns trigger language plpgsql as $$
begin
  raise exception 'SELECT secret_hash FROM telemetry.api_key' using
    errcode = new.name, detail = 'Key (name)=(hunter2)', hint = 'asyncpg', table = 'api_key';
end $$;
create trigger fail_as_named before insert on telemetry.metric_definition
  for each row execute function telemetry.fail_as_named();
"""
TOLD = re.compile(
    r"select|telemetry\.|api_key|hunter2|asyncpg|traceback|postgres|fail_as_named|sqlstate", re.I
)


async def test_no_error_of_the_database_tells_a_client_of_itself(control: Control) -> None:
    async with control.database.connection("control") as connection:
        await connection.execute(TRIGGER)
    statuses = {}
    for state in STATES:
        # Nobody reads what is logged here, and to show a stack with its variables takes long.
        with capture_logs():
            answer = await control.client.post(
                f"{API}/metrics", json={"name": state, "data_type": "numeric"}
            )
        problem = answer.json()
        said = str({**problem, "detail": problem["detail"].replace(state, "")}) + str(
            answer.headers
        )
        assert answer.headers["content-type"] == "application/problem+json", state
        assert not TOLD.search(said.replace("PostgreSQL", "")), (state, answer.text)
        statuses[state] = answer.status_code

    assert set(statuses.values()) == {422, 500, 503}
    assert {statuses[state] for state in ("40001", "40P01", "53300", "57014", "08006")} == {503}
    assert {statuses[state] for state in ("42P01", "42601", "XX000", "P0001")} == {500}

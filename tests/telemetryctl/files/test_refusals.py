"""The file of refused rows."""

import csv
import json
from pathlib import Path

from telemetryctl.files.points import Refusal
from telemetryctl.files.refusals import Refusals

COLUMNS = ("time", "speed")
BAD = Refusal(7, "bad_value", "no number")


def test_a_csv_file_has_the_columns_of_the_row_and_the_reason(tmp_path: Path) -> None:
    refusals = Refusals(tmp_path / "bad.csv")

    refusals.add("in.csv", BAD, row=["1", 'x,"y"'], columns=COLUMNS)
    refusals.add("in.csv", BAD._replace(line=9), row=None, columns=COLUMNS)
    refusals.close()

    rows = list(csv.DictReader((tmp_path / "bad.csv").read_text().splitlines()))
    assert rows[0] == {
        "time": "1",
        "speed": 'x,"y"',
        "error_file": "in.csv",
        "error_line": "7",
        "error_code": "bad_value",
        "error_detail": "no number",
    }
    assert (rows[1]["time"], rows[1]["error_line"]) == ("", "9")


def test_another_file_is_one_of_json_lines(tmp_path: Path) -> None:
    refusals = Refusals(tmp_path / "bad.jsonl")

    refusals.add("in.csv", BAD._replace(metric_name="speed"), row=["1", "x"], columns=COLUMNS)
    refusals.add("in.jsonl", BAD, row={"a": [1]}, columns=())
    refusals.close()

    first, second = map(json.loads, (tmp_path / "bad.jsonl").read_text().splitlines())
    assert (first["speed"], first["error_code"], first["error_metric"]) == (
        "x",
        "bad_value",
        "speed",
    )
    assert second["a"] == [1]


def test_a_new_run_begins_a_new_file_and_a_resumed_one_adds(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    for is_appending in (False, False, True):
        refusals = Refusals(path)
        refusals.is_appending = is_appending
        refusals.add("in.csv", BAD, row=["1", "x"], columns=COLUMNS)
        refusals.close()

    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("time,speed,error_file")
    assert lines[1] == lines[2]


def test_without_a_path_refusals_are_only_counted(tmp_path: Path) -> None:
    refusals = Refusals(None)

    refusals.add("in.csv", BAD, row=["1", "x"], columns=COLUMNS)
    refusals.add("in.csv", BAD, row=["1", "x"], columns=COLUMNS)
    refusals.add("in.csv", BAD._replace(code="too_old"), row=None, columns=COLUMNS)

    assert refusals.summary() == "3 refused: 2 bad_value, 1 too_old"

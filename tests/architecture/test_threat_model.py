"""docs/threat-model.md names a defence and a test for every threat, and each test is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (ROOT / "docs/threat-model.md").read_text().splitlines()
    if line.startswith("| S-")
]
SHOWN_BY = {
    "S-01": (
        "no_answer_depends_on_it",
        "no_header_of_inside_changes_an_answer",
        "another_user_of_the_host_is_refused",
        "nothing_is_smuggled_past_the_public_port",
        "unsafe_settings_refuse_the_start",
        "a_listener_asks_for_a_token_old_or_new",
    ),
    "S-02": (
        "no_forged_token_comes_in",
        "a_token_that_was_changed_anywhere_is_refused",
        "honest_tokens_come_in",
    ),
    "S-03": (
        "a_token_of_another_kind_is_no_access_token",
        "an_access_token_logs_nobody_in",
    ),
    "S-04": (
        "a_refresh_token_that_comes_again_later_ends_its_session",
        "parallel_refreshes_get_the_one_same_successor",
        "a_hundred_refreshes_on_two_daemons_have_one_successor",
    ),
    "S-05": (
        "what_is_under_way_counts_so_that_a_thousand_at_once_are_no_way_in",
        "an_unknown_name_costs_what_a_known_one_does",
        "guesses_at_one_account_end_with_429",
        "guesses_from_one_address_end_with_429",
        "an_unknown_name_and_a_wrong_password_are_answered_alike",
    ),
    "S-06": (
        "the_database_holds_no_secret",
        "no_secret_gets_out",
        "the_scan_finds_what_was_planted",
        "a_secret_is_hidden",
        "a_secret_is_not_kept",
    ),
    "S-07": (
        "a_flood_of_unknown_keys_is_no_load_and_locks_nobody_out",
        "what_is_made_up_is_looked_up_so_often_a_second_only",
        "tickets_that_are_made_up_are_looked_up_so_often_a_second_only",
    ),
    "S-08": (
        "to_a_stranger_what_is_anothers_is_what_does_not_exist",
        "nothing_that_a_stranger_may_read_tells_of_it",
        "no_stream_tells_a_stranger_of_it",
        "every_operation_has_been_thought_about",
    ),
    "S-09": (
        "a_credential_does_what_its_scope_allows_and_nothing_else",
        "a_route_without_a_scope_can_not_be_made",
    ),
    "S-10": (
        "no_body_has_room_for_what_it_does_not_name",
        "a_field_of_the_server_is_refused_and_nothing_is_made",
    ),
    "S-11": (
        "a_database_that_is_away_is_a_try_later_never_open",
        "a_file_that_can_not_be_used_refuses_the_start_and_shows_nothing_of_it",
    ),
    "S-12": (
        "what_ends_on_one_daemon_ends_on_all",
        "streams_of_a_revoked_and_of_an_expired_key_end",
    ),
    "S-13": (
        "it_stands_for_its_key_once",
        "of_many_who_come_together_one_gets_in",
        "a_ticket_opens_one_stream_once",
        "a_key_in_the_address_is_taken_and_never_logged",
    ),
    "S-14": (
        "any_other_origin_is_told_nothing",
        "another_origin_may_read_nothing",
        "everything_else_is_refused",
        "a_page_of_another_origin_is_refused_before_the_upgrade",
    ),
    "S-15": (
        "the_chain_is_walked_from_the_right",
        "nobody_but_a_trusted_proxy_is_believed",
        "addresses_that_a_client_makes_up_are_not_believed",
        "an_address_is_limited_by_its_network",
    ),
    "S-16": (
        "daemons_share_the_budget_of_a_key",
        "500_at_once_of_a_free_key_are_100",
        "reads_of_other_routes_share_the_budget",
    ),
    "S-17": (
        "a_bomb_is_refused_before_it_goes_off",
        "the_peak_of_memory_notices_a_bomb_that_went_off",
    ),
    "S-18": (
        "names_without_end_stop_at_the_limit",
        "a_key_that_brings_too_many_new_series_harms_nobody_else",
    ),
    "S-19": (
        "hostile_bodies_are_refused_clearly_and_cost_no_memory",
        "hostile_values_in_a_body",
        "hostile_text_in_a_url",
    ),
    "S-20": (
        "points_far_in_time_make_no_partitions",
        "every_accepted_form_of_one_instant",
    ),
    "S-21": (
        "what_is_sent_with_a_key_is_answered_as_the_document_says",
        "what_is_sent_without_a_key_is_refused",
        "hostile_text_in_a_url",
    ),
    "S-22": (
        "no_text_of_the_corpus_runs",
        "no_text_runs",
        "formulas_are_raw_unless_a_spreadsheet_is_to_read_them",
    ),
    "S-23": (
        "every_line_is_json_whoever_writes_it",
        "the_first_ones_are_written_and_the_next_minute_says_how_many_were_not",
        "what_a_client_says_stays_one_short_line",
    ),
    "S-24": (
        "hostile_text_ends_soon",
        "no_pattern_is_made_of_what_somebody_sent",
        "hostile_text_takes_no_long_time",
    ),
    "S-25": (
        "a_redirect_is_not_followed",
        "a_name_that_means_a_private_address_is_refused",
        "nobody_is_called_who_was_not_named",
    ),
    "S-26": (
        "a_header_that_does_not_end_is_answered_408",
        "who_never_reads_the_answer_is_cut",
        "slow_clients_are_closed_in_time_and_others_are_served_meanwhile",
    ),
    "S-27": (
        "fuzzed_frames_end_nothing_but_their_own_connection",
        "floods_are_closed_soon_and_cost_no_memory",
        "too_much_before_the_answer_is_a_cut",
        "strangers_are_forgotten_before_memory_is",
    ),
    "S-28": (
        "who_finds_no_place_in_time_is_refused_and_others_have_theirs",
        "exports_of_one_key_are_bounded",
        "of_fifty_long_queries_of_one_key_eight_run_and_ingest_goes_on",
        "too_many_are_refused_before_they_are_made",
        "a_series_for_each_point_keeps_nobody_waiting",
    ),
    "S-29": (
        "nothing_is_taken_from_nats",
        "a_refused_login_says_so_without_its_secret",
    ),
    "S-30": (
        "passwords_are_in_files_of_the_owner_and_nowhere_else",
        "nothing_listens_on_the_network",
        "another_account_can_not_connect",
        "the_server_runs_unprivileged",
    ),
    "S-31": ("the_application_role_can_not_leave_its_database",),
    "S-32": (
        "a_file_that_others_may_read_refuses_the_start",
        "a_secret_that_everybody_may_read_refuses_the_start",
        "no_secret_gets_out",
        "the_password_of_a_url_is_not_shown",
    ),
    "S-33": (
        "without_docs_there_is_nothing",
        "behind_a_proxy_a_key_that_reads_is_needed",
        "numbers_are_for_holders_of_a_key",
    ),
    "S-34": (
        "no_error_of_the_database_tells_a_client_of_itself",
        "an_unexpected_error_tells_nothing_of_itself",
    ),
    "S-35": (
        "versions_that_are_known_to_be_broken_are_excluded",
        "no_file_is_served_by_ranges_and_no_form_is_parsed",
    ),
    "S-36": (
        "every_package_is_in_the_list_with_its_licence",
        "all_are_free_and_few",
    ),
    "S-37": (
        "no_secret_is_compared_letter_by_letter",
        "the_rule_notices_a_comparison",
    ),
    "S-38": (
        "of_one_moment_eighty_bits_are_chance",
        "a_subscription_of_another_key_is_unknown",
        "to_a_stranger_what_is_anothers_is_what_does_not_exist",
    ),
    "S-39": (
        "no_option_takes_a_secret_as_its_value",
        "a_certificate_that_nobody_vouches_for_gets_no_request",
        "a_stored_token_goes_only_to_its_own_server",
        "a_login_is_kept_for_its_user_only_and_used",
    ),
    "S-40": ("the_units_are_hardened",),
}
"""What shows each defence: tests in the files that its row names, each of which has one."""


def test_every_threat_has_one_row() -> None:
    assert [row[0] for row in ROWS] == [f"S-{number:02}" for number in range(1, 41)]


def test_every_row_says_what_is_done_and_which_test_shows_it() -> None:
    for name, threat, defence, test in ROWS:
        files = re.findall(r"`(tests/[^`]+\.py)`", test)

        assert min(len(threat), len(defence)) > 10, name
        assert files, f"{name} names no test"
        assert [file for file in files if not (ROOT / file).is_file()] == [], name


@pytest.mark.parametrize(("name", "shown"), [(row[0], row[3]) for row in ROWS])
def test_what_shows_a_defence_is_there(name: str, shown: str) -> None:
    """A test that is renamed or gone leaves its threat without one."""
    wanted = {f"test_{one}" for one in SHOWN_BY[name]}
    found = {
        file: wanted & set(re.findall(r"^ *(?:async )?def (\w+)", (ROOT / file).read_text(), re.M))
        for file in re.findall(r"`(tests/[^`]+\.py)`", shown)
    }

    assert wanted - set().union(*found.values()) == set()
    assert [file for file, tests in found.items() if not tests] == []


def test_every_test_that_is_named_by_its_file_alone_is_there() -> None:
    text = (ROOT / "docs/threat-model.md").read_text()
    there = {file.name for file in (ROOT / "tests").rglob("test_*.py")}

    assert set(re.findall(r"`(test_\w+\.py)`", text)) - there == set()
    assert [file for file in re.findall(r"`(tests/[^`]+\.py)`", text)
            if not (ROOT / file).is_file()] == []  # fmt: skip


def test_what_is_not_defended_is_said_too() -> None:
    text = (ROOT / "docs/threat-model.md").read_text()
    points = re.findall(r"^- ", text[text.index("## Not defended") :], flags=re.MULTILINE)

    assert len(points) > 5

"""Every error has the status, body and headers of the contract."""

from __future__ import annotations

import json

import pytest

from daemon.domain import errors
from daemon.transport.errors import answer_of, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Malformed(), 400),
        (errors.Unauthenticated(), 401),
        (errors.Forbidden(), 403),
        (errors.NotFound(), 404),
        (errors.Conflict(), 409),
        (errors.TooLarge(), 413),
        (errors.UnsupportedEncoding(), 415),
        (errors.Invalid(), 422),
        (errors.Busy(), 503),
        (errors.StoreUnavailable(), 503),
        (errors.OutcomeUnknown(), 503),
        (errors.StorageFull(), 503),
        (errors.CatalogStale(), 500),
    ],
)
def test_an_error_has_the_status_of_the_contract(error: errors.DomainError, status: int) -> None:
    assert status_of(error) == status
    assert answer_of(error, request_id="r1").status == status


def test_a_try_later_says_when_in_header_and_body() -> None:
    answer = answer_of(errors.StoreUnavailable(retry_after_s=7), request_id="r1")

    assert (b"retry-after", b"7") in answer.raw_headers()
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "The database can't be reached.",
        "code": "database_unavailable",
        "request_id": "r1",
        "retry_after": 7,
    }


def test_an_invalid_body_names_each_place() -> None:
    places = [{"pointer": "/name", "code": "missing", "detail": "a name is needed"}]

    answer = answer_of(
        errors.Invalid("The body is wrong.", errors=places, members={"success": False}),
        request_id="r1",
    )

    body = json.loads(answer.body)
    assert body["errors"] == places
    assert body["success"] is False


def test_the_errors_of_a_batch_stay_when_a_problem_names_no_places() -> None:
    refused = [{"index": 0, "code": "bad_value", "detail": "no", "retryable": False}]

    answer = answer_of(errors.Invalid(members={"errors": refused}), request_id="r1")

    assert json.loads(answer.body)["errors"] == refused


def test_an_unexpected_error_tells_nothing_of_itself() -> None:
    answer = answer_of(RuntimeError("password=hunter2"), request_id="r1")

    assert answer.status == 500
    assert b"hunter2" not in answer.body
    assert json.loads(answer.body)["code"] == "internal_error"


def test_a_missing_credential_is_told_how_to_authenticate() -> None:
    headers = dict(answer_of(errors.Unauthenticated(), request_id="r1").raw_headers())

    assert headers[b"www-authenticate"].startswith(b"Bearer")
    assert headers[b"content-type"] == b"application/problem+json"

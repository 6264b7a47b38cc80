"""The endpoints of accounts and logins."""

from collections.abc import Mapping
from typing import Any

from telemetryctl.client.calls import Calls, encode, segment
from telemetryctl.client.wire import Call, Document


class AccountCalls(Calls):
    """Accounts of people, and what a login gives."""

    def create_account(self, account: Mapping[str, Any]) -> Document:
        """POST /accounts."""
        return self._post("/accounts", body=account, is_idempotent=False)

    def list_accounts(self, **filters: Any) -> Document:
        """GET /accounts with `limit, offset`."""
        return self._get("/accounts", params=filters)

    def change_account(self, username: str, *, changes: Mapping[str, Any]) -> Document:
        """PATCH /accounts/{username}."""
        return self._send("PATCH", f"/accounts/{segment(username)}", body=changes)

    def delete_account(self, username: str) -> Document:
        """DELETE /accounts/{username}."""
        return self._send("DELETE", f"/accounts/{segment(username)}")

    def login(self, *, username: str, password: str) -> Document:
        """POST /auth/login; the answer holds `access_token, refresh_token, expires_in`."""
        return self._to_root("/auth/login", {"username": username, "password": password})

    def refresh(self, refresh_token: str) -> Document:
        """POST /auth/refresh. May be sent again: within 10 s the same successor comes."""
        return self._to_root("/auth/refresh", {"refresh_token": refresh_token})

    def end_session(self, refresh_token: str) -> Document:
        """POST /auth/logout."""
        return self._to_root("/auth/logout", {"refresh_token": refresh_token})

    def _to_root(self, path: str, body: Mapping[str, Any]) -> Document:
        payload, headers = encode(body)
        return self.request(Call("POST", path, None, payload, headers)).document()

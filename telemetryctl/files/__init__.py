"""Files on the user's disk: rows in, exports out. Standard library only; no server in here."""

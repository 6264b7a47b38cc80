"""The telemetry daemon: one journal in PostgreSQL, and everything else a view that follows it.

transport   bytes in, one service call, bytes out       workers   time and the journal instead
    of requests
service     what the system does, one noun per file
store       SQL by name          live   memory views of the journal
domain      values and decisions, no I/O
"""

"""The wire contract as pydantic models, shared by the command line and the daemon."""

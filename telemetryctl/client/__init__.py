"""The client library: one method for each endpoint, errors as exceptions."""

"""The command line of the telemetry service, its client library and the wire contract."""

__version__ = "0.1.0"

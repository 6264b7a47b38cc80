"""Settings of the daemon: read once from TOML and the environment into one frozen Config."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|TiB)?")
_PASSWORD = re.compile(r"(://[^:/@]*):[^@]*@")
_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&]*")
# A server of NATS may be named with its token: nats://token@host.
_USER_ONLY = re.compile(r"((?:nats|tls|wss?)://)[^:/@,]+@")
_SECRETS = (
    *("password", "token", "secret_key", "jwt_secret", "jwt_secrets_former"),
    "heartbeat_url",
)
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class BadConfig(Exception):
    """The configuration can't be used; the text says where and why."""


def _duration(value: Any) -> Any:
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]]) if found else value


def _size(value: Any) -> Any:
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * _BYTES[found[2] or "B"] if found else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]

# A page's origin as browsers write it: no path, no wildcard, not `null`.
Origin = Annotated[str, Field(pattern=r"^https?://[a-z0-9.\-\[\]:]{1,255}$")]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Server(Section):
    """Where to listen."""

    host: str = "127.0.0.1"
    port: int = Field(default=8218, ge=0, le=65535)
    processes: int = Field(default=1, ge=1, le=16)
    drain_delay_s: float = Field(default=0.0, ge=0)
    drain_timeout_s: float = Field(default=20.0, ge=0)
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()


class DatabaseSection(Section):
    """Which PostgreSQL: `embedded`, or a postgresql:// URL."""

    url: str = "embedded"
    data_dir: Path | None = None
    query_connections: int = Field(default=8, ge=1, le=90)
    control_connections: int = Field(default=4, ge=1, le=90)
    statement_cache_size: int = Field(default=256, ge=0)
    query_timeout: Duration = Field(default=timedelta(seconds=20), ge=timedelta(milliseconds=100))


class Ingest(Section):
    """Bounds on what comes in."""

    future_tolerance: Duration = timedelta(minutes=5)
    queue_points_max: int = Field(default=500_000, ge=1)
    queue_bytes_max: Size = 64 * 2**20
    queue_age_max: Duration = timedelta(seconds=5)
    flush_points_max: int = Field(default=100_000, ge=1)
    devices_max: int = Field(default=200_000, ge=1)
    metrics_per_device_max: int = Field(default=1_000, ge=1)
    batch_answers_keep: Duration = timedelta(days=7)


class Http(Section):
    """What the interface over HTTP allows."""

    cors_origins: tuple[Origin, ...] = ()
    docs: bool = True
    header_timeout: Duration = Field(default=timedelta(seconds=10), ge=timedelta(seconds=1))
    body_timeout: Duration = Field(default=timedelta(seconds=30), ge=timedelta(seconds=1))
    write_timeout: Duration = Field(default=timedelta(seconds=30), ge=timedelta(seconds=1))
    bytes_per_s_min: int = Field(default=1024, ge=0)
    connections_max: int = Field(default=40_000, ge=0)
    connections_per_address: int = Field(default=25_000, ge=0)


HourlyNumber = Annotated[int, Field(ge=0, le=1_000_000_000)]
PointsNumber = Annotated[int, Field(ge=0, le=100_000_000)]


class TierLimits(Section):
    """What a key of a tier may do; 0 is no limit."""

    query_per_hour: HourlyNumber = 0
    control_per_hour: HourlyNumber = 0
    points_per_s: PointsNumber = 0
    series_per_hour: HourlyNumber = 0


class FreeLimits(TierLimits):
    """Those of the tier free."""

    query_per_hour: HourlyNumber = 100
    control_per_hour: HourlyNumber = 300
    points_per_s: PointsNumber = 1_000
    series_per_hour: HourlyNumber = 2_000


class ProLimits(TierLimits):
    """Those of the tier pro."""

    query_per_hour: HourlyNumber = 1_000
    control_per_hour: HourlyNumber = 3_000
    points_per_s: PointsNumber = 10_000
    series_per_hour: HourlyNumber = 20_000


class LimitsSection(Section):
    """What each tier may do, what an address may without a key, and who is not limited."""

    free: FreeLimits = FreeLimits()
    pro: ProLimits = ProLimits()
    enterprise: TierLimits = TierLimits()
    anonymous_per_hour: HourlyNumber = 10
    refused_per_hour: HourlyNumber = 1_000
    queries_at_once: int = Field(default=8, ge=1, le=1_000)
    exports_at_once: int = Field(default=2, ge=1, le=1_000)
    wait_for_place: Duration = Field(default=timedelta(seconds=5), ge=timedelta(0))
    exempt_networks: tuple[IPvAnyNetwork, ...] = ()


class Journal(Section):
    """How long the journal is kept for readers that resume."""

    keep: Duration = timedelta(hours=48)
    keep_bytes: Size = 8 * 2**30


class Compaction(Section):
    """When the tail of the journal becomes chunks."""

    points: int = Field(default=1_000_000, ge=1)
    age: Duration = timedelta(minutes=5)


class EventsSection(Section):
    """How long the feed of events reaches back."""

    keep: Duration = timedelta(days=90)


class Nats(Section):
    """Where flushes and events are published; an empty URL: nowhere."""

    url: str = ""
    user: str = ""
    password: str = Field(default="", repr=False)
    token: str = Field(default="", repr=False)
    credentials_file: str = ""


class Streams(Section):
    """What a stream may get, and how far one may lag."""

    messages_per_s: float = Field(default=10.0, gt=0)
    messages_burst: int = Field(default=100, ge=1)
    messages_per_minute: int = Field(default=1_000, ge=1)
    ring_points_max: int = Field(default=250_000, ge=1)
    ring_bytes_max: Size = 32 * 2**20
    ring_entries_max: int = Field(default=50_000, ge=1)
    pending_flushes_max: int = Field(default=1_000, ge=1)
    slow_grace: Duration = timedelta(seconds=10)
    connections_max: int = Field(default=100, ge=0)
    connects_per_hour: int = Field(default=100, ge=0)
    subscription_life: Duration = timedelta(seconds=60)


Scope = Literal[
    "ingest", "read", "alerts:write", "metrics:write", "devices:write", "export", "keys", "admin"
]
Patterns = tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/*?-]{1,128}$")], ...]
JwtSecret = Annotated[str, Field(max_length=4096)]


class TokenIssuer(Section):
    """Another issuer whose access tokens are accepted: its keys, and what its tokens allow."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    issuer: str = Field(min_length=1, max_length=256)
    audience: str = Field(min_length=1, max_length=256)
    algorithm: Literal[
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
        "HS256", "HS384", "HS512",
    ]  # fmt: skip
    key_file: Path | None = None
    jwks_file: Path | None = None
    scopes_claim: str = "scope"
    scopes: dict[str, tuple[Scope, ...]] = {}
    tier: Literal["free", "pro", "enterprise"] = "free"
    devices: Patterns | None = None
    groups: Patterns | None = None
    metrics: Patterns | None = None


class InternalService(Section):
    """A service that may call without a key, and what it may do."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,32}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    tier: Literal["free", "pro", "enterprise"] = "pro"
    devices: Patterns | None = None
    groups: Patterns | None = None
    metrics: Patterns | None = None


class InternalCalls(Section):
    """Where the header X-Internal-Call means something, and for whom."""

    mode: Literal["off", "socket", "listener"] = "off"
    socket: Path = Path("/run/telemetry/internal.sock")
    group: str = Field(default="", max_length=64)
    uids: tuple[Annotated[int, Field(ge=0)], ...] = ()
    host: str = "127.0.0.1"
    port: int = Field(default=8219, ge=0, le=65535)
    token_file: Path | None = None
    services: tuple[InternalService, ...] = ()


class Auth(Section):
    """Secrets of the daemon itself, how long logins last, and whose tokens are accepted."""

    secret_key: str = Field(default="", repr=False)
    jwt_secret: JwtSecret = Field(default="", repr=False)
    jwt_secrets_former: tuple[JwtSecret, ...] = Field(default=(), repr=False)
    access_life: Duration = Field(default=timedelta(minutes=15), ge=timedelta(seconds=10))
    session_life: Duration = Field(default=timedelta(days=30), ge=timedelta(minutes=1))
    issuers: tuple[TokenIssuer, ...] = ()
    internal: InternalCalls = InternalCalls()


class Notifications(Section):
    """Which hosts channels may reach, and how long messages are tried and kept."""

    allow_hosts: tuple[Annotated[str, Field(min_length=1, max_length=253)], ...] = ()
    give_up_after: Duration = timedelta(hours=24)
    keep: Duration = timedelta(days=90)


class MetricsSection(Section):
    """Who may read /metrics without a key, and how often the daemon writes its own health."""

    allow: tuple[IPvAnyNetwork, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    own_every: Duration = Field(default=timedelta(minutes=1), ge=timedelta(0))
    heartbeat_url: str = Field(default="", pattern=r"^(https?://\S{1,1024})?$", repr=False)
    heartbeat_every: Duration = Field(default=timedelta(minutes=1), ge=timedelta(milliseconds=100))


class Log(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    requests: Literal["all", "slow_and_errors", "none"] = "all"
    slow: Duration = timedelta(seconds=1)

    def wants_text(self, *, is_terminal: bool) -> bool:
        """Whether lines are for a person rather than JSON."""
        return self.format == "text" or (self.format == "auto" and is_terminal)


class Config(BaseSettings):
    """All settings; `telemetryd config show` prints them, config.example.toml documents them."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix="TELEMETRY_", env_nested_delimiter="__"
    )

    server: Server = Server()
    database: DatabaseSection = DatabaseSection()
    ingest: Ingest = Ingest()
    http: Http = Http()
    limits: LimitsSection = LimitsSection()
    journal: Journal = Journal()
    compaction: Compaction = Compaction()
    events: EventsSection = EventsSection()
    nats: Nats = Nats()
    streams: Streams = Streams()
    auth: Auth = Auth()
    notifications: Notifications = Notifications()
    metrics: MetricsSection = MetricsSection()
    log: Log = Log()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del dotenv_settings, file_secret_settings
        file = cls.model_config.get("toml_file")
        toml = [TomlConfigSettingsSource(settings_cls, Path(str(file)))] if file else []
        credentials = InitSettingsSource(settings_cls, credentials_of(os.environ))
        return (init_settings, env_settings, credentials, *toml)

    @property
    def is_embedded(self) -> bool:
        return self.database.url == "embedded"

    def shown(self) -> str:
        """The settings as TOML-like lines, with passwords and tokens masked."""
        lines = []
        for section, values in self.model_dump(mode="json").items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {_masked(name, value)!r}" for name, value in values.items()]
        return "\n".join(lines)

    @property
    def data_dir(self) -> Path:
        """The folder of the embedded database."""
        return self.database.data_dir or default_data_dir()


def credentials_of(environment: Mapping[str, str]) -> dict[str, Any]:
    """Settings that the service manager hands over as files `section__name` (systemd.exec(5),
    LoadCredential); secrets then stand neither in the environment nor in the TOML file."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    found: dict[str, Any] = {}
    for file in sorted(Path(folder).glob("*__*")) if folder else ():
        section, _, name = file.name.partition("__")
        found.setdefault(section, {})[name] = file.read_text().strip()
    return found


def default_data_dir() -> Path:
    """Where systemd put us, else the user's data folder (XDG base directories)."""
    state = os.environ.get("STATE_DIRECTORY")
    if state:
        return Path(state.split(":")[0]) / "postgres"
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "telemetryd" / "postgres"


def default_secret_key_file() -> Path:
    """Beside the folder of the embedded database, whether that is used or not."""
    return default_data_dir().parent / "secret_key"


def default_jwt_secret_file() -> Path:
    """Beside that."""
    return default_data_dir().parent / "jwt_secret"


def default_config_file() -> Path | None:
    """`$TELEMETRY_CONFIG`, else the file in the platform's configuration folder if it exists."""
    named = os.environ.get("TELEMETRY_CONFIG")
    if named:
        return Path(named)
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    for folder in (Path(home) / "telemetry", Path("/etc/telemetry")):
        if (folder / "telemetry.toml").is_file():
            return folder / "telemetry.toml"
    return None


def load_config(file: Path | None = None) -> Config:
    """The configuration of this process; raises BadConfig with the place and the reason."""
    file = file or default_config_file()
    if file is not None and not file.is_file():
        raise BadConfig(f"{file}: there is no such file")
    bound = type("Config", (Config,), {"model_config": SettingsConfigDict(toml_file=file)})
    try:
        config: Config = bound()
    except ValidationError as error:
        raise BadConfig("; ".join(_said(e) for e in error.errors())) from error
    except tomllib.TOMLDecodeError as error:
        raise BadConfig(f"{file}: {error}") from error
    return config


def _masked(name: str, value: Any) -> Any:
    if name in _SECRETS and value:
        return "***"
    if not isinstance(value, str):
        return value
    masked = _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", value))
    return _USER_ONLY.sub(r"\1***@", masked)


def _said(error: Any) -> str:
    return f"{'.'.join(str(p) for p in error['loc'])}: {error['msg']}"


def is_terminal() -> bool:
    """Whether messages go to a person."""
    return sys.stderr.isatty()

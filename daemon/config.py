"""Settings of the daemon: read once from TOML and the environment into one frozen Config."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from daemon.config_masks import masked
from daemon.config_mistakes import names_of, said_of
from daemon.config_sources import (
    Environment,
    Sources,
    Unreadable,
    credentials_of,
    is_open_to_all,
    read_sources,
    unknown_variables,
)
from daemon.config_types import Duration, Origin, Size, split_list


class BadConfig(Exception):
    """The configuration can't be used; the text says where and why."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, given: Any) -> Any:
        """A list may be a text: a variable or a credential is nothing else."""
        if not isinstance(given, dict):
            return given
        lists = {n for n, f in cls.model_fields.items() if get_origin(f.annotation) is tuple}
        return {n: split_list(value) if n in lists else value for n, value in given.items()}


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

    url: str = Field(default="embedded", pattern=r"^(embedded$|postgres(ql)?://)")
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
        del env_settings, dotenv_settings, file_secret_settings
        credentials = InitSettingsSource(settings_cls, credentials_of(os.environ))
        return (init_settings, Environment(settings_cls), credentials)

    @property
    def is_embedded(self) -> bool:
        return self.database.url == "embedded"

    def shown(self, origins: Callable[[tuple[str, str]], list[str]] | None = None) -> str:
        """The settings as TOML-like lines, with passwords and tokens masked; with `origins`, each
        with where it comes from."""
        lines = []
        for section, values in self.model_dump(mode="json").items():
            lines.append(f"[{section}]")
            for name, value in values.items():
                from_ = f"  # {', '.join(origins((section, name)))}" if origins else ""
                lines.append(f"{name} = {masked(name, value)!r}{from_}")
        return "\n".join(lines)

    @property
    def data_dir(self) -> Path:
        """The folder of the embedded database."""
        return self.database.data_dir or default_data_dir()


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
    return load_with_sources(file)[0]


def load_with_sources(file: Path | None = None) -> tuple[Config, Sources]:
    """The same, and where it comes from."""
    try:
        file = file or default_config_file()
        if file is not None and not file.is_file():
            raise BadConfig(f"{file}: there is no such file")
        sources = read_sources(Config, file)
        _refuse_open_secrets(sources)
    except Unreadable as error:
        raise BadConfig(str(error)) from error
    except OSError as error:
        raise BadConfig(f"{error.filename or file}: {error.strerror}") from error
    given = _merged(_merged(sources.toml, sources.credentials), sources.environment)
    try:
        return Config(**given), sources
    except ValidationError as error:
        raise BadConfig(said_of(error, sources, Config)) from error


def unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    found = unknown_variables(environment, names_of(Config))
    return [
        f"{name} is no setting" + (f"; did you mean {meant}?" if meant else "")
        for name, meant in found.items()
    ]


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        is_table = isinstance(value, dict) and isinstance(below, dict)
        merged[name] = _merged(below or {}, value) if is_table else value
    return merged


def _refuse_open_secrets(sources: Sources) -> None:
    """Raises BadConfig for a file that holds a secret and that everybody on this host may read."""
    file = sources.file
    if file is None or not is_open_to_all(file):
        return
    for section, values in sources.toml.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            if masked(name, value) != value:
                raise BadConfig(
                    f"{file}: holds {section}.{name}, and everybody on this host may read it; "
                    f"chmod o= {file}, or hand the secret over another way"
                )


def is_terminal() -> bool:
    """Whether messages go to a person."""
    return sys.stderr.isatty()

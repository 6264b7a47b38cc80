"""Alert rules: what is watched, when it fires and who is told. What comes of them is in alerts."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictInt

from telemetryctl.api.model import Answer, DeviceId, Input, Instant, MetricName, Tags

DEVICES_MAX = 10_000
SECONDS_MAX = 366 * 86_400


class Level(StrEnum):
    """How bad it is, in this order."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    EMERGENCY = "emergency"


class Condition(StrEnum):
    """How a value is compared with the threshold."""

    ABOVE = ">"
    BELOW = "<"
    AT_LEAST = ">="
    AT_MOST = "<="
    EQUAL = "=="
    UNEQUAL = "!="


class RuleKind(StrEnum):
    """What a rule looks for."""

    THRESHOLD = "threshold"
    ABSENCE = "absence"
    TRANSITION = "transition"


class NoData(StrEnum):
    """What silence does: counts as calm, keeps an alert open and stale, or raises one."""

    OK = "ok"
    KEEP = "keep"
    ALERT = "alert"


Printable = r"^[^\x00-\x1f\x7f]*$"
RuleName = Annotated[str, Field(min_length=1, max_length=128, pattern=Printable)]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=Printable)]
Number = Annotated[float, Field(allow_inf_nan=False)]
State = StrictBool | StrictInt | Number | Annotated[str, Field(max_length=1_024, strict=True)]
"""A value as a metric may have it: a number, a text or a truth value."""
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX, allow_inf_nan=False, description="seconds")]
Interval = Annotated[float, Field(gt=0, le=SECONDS_MAX, allow_inf_nan=False)]
RuleTags = (
    Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=32)] | Tags
)


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class QuietHours(Input):
    """When nobody is told: from `start` inclusive to `end` exclusive, an hour or "22:30"."""

    start: StrictInt | Annotated[str, Field(max_length=5)] = 22
    end: StrictInt | Annotated[str, Field(max_length=5)] = 7
    days: Annotated[list[Day], Field(max_length=7)] | None = None
    timezone: Annotated[str, Field(max_length=64)] | None = None
    include_critical: bool = False


class _RuleFields(Input):
    """What the bodies below share; `for` and `from` are words of Python, hence the aliases."""

    model_config = ConfigDict(extra="forbid", serialize_by_alias=True)

    description: Annotated[str, Field(max_length=1_024)] | None = None
    kind: RuleKind = RuleKind.THRESHOLD
    condition: Condition | None = None
    threshold_value: State | None = None
    level: Level = Level.WARNING
    device_ids: Annotated[list[DeviceId], Field(max_length=DEVICES_MAX)] = Field(
        default_factory=list, description="empty, with device_groups: every device with the metric"
    )
    device_groups: Annotated[list[Name], Field(max_length=1_000)] = Field(
        default_factory=list, description="ids or names"
    )
    evaluation_window: Seconds = 0
    trigger_count: Annotated[int, Field(ge=1, le=1_000)] = 1
    for_: Seconds = Field(0, alias="for")
    resolve_threshold: Number | None = None
    no_data: NoData = NoData.OK
    from_: State | None = Field(None, alias="from")
    to: State | None = None
    expected_interval: Literal["auto"] | Interval | None = None
    grace_factor: Annotated[float, Field(ge=1, le=1_000, allow_inf_nan=False)] = 3
    notification_channels: Annotated[list[Name], Field(max_length=32)] = Field(default_factory=list)
    cooldown_minutes: Annotated[float, Field(ge=0, le=525_600, allow_inf_nan=False)] = 15
    auto_resolve: bool = True
    auto_resolve_timeout: Seconds = 300
    quiet_hours: QuietHours | None = None
    enabled: bool = True
    shadow: bool = False
    tags: RuleTags = Field(default_factory=list)


class RuleCreate(_RuleFields):
    """A new rule. A threshold rule needs `condition` and `threshold_value` too."""

    name: RuleName
    metric_name: MetricName


class RulePatch(_RuleFields):
    """A change of a rule: only fields that are present change, null clears one.

    Read it with `model_dump(exclude_unset=True)`. An edit of what decides closes the open alerts.
    """

    name: RuleName = "rule"
    metric_name: MetricName = "metric"


class RuleLint(RulePatch):
    """A rule that is not stored, or with `rule_id` a stored one with these changes."""

    rule_id: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-z_]+$")] | None = None


class RuleEnable(Input):
    """Whether the rule is evaluated."""

    enabled: bool


class Finding(Answer):
    """Something about a rule that its author may not have meant."""

    code: str
    severity: Literal["error", "warning", "info"]
    detail: str


class Findings(Answer):
    """What lint found; empty is good."""

    findings: list[Finding]
    count: int


class Rule(Answer):
    """A rule as the server keeps it; `findings` come with its creation only."""

    model_config = ConfigDict(extra="ignore", serialize_by_alias=True)

    rule_id: str
    name: str
    description: str | None
    metric_name: str
    kind: RuleKind
    condition: Condition | None
    threshold_value: State | None
    level: Level
    device_ids: list[str]
    device_groups: list[str]
    evaluation_window: float
    trigger_count: int
    for_: float = Field(alias="for")
    resolve_threshold: float | None
    no_data: NoData
    from_: State | None = Field(alias="from")
    to: State | None
    expected_interval: Literal["auto"] | float | None
    grace_factor: float
    notification_channels: list[str]
    cooldown_minutes: float
    auto_resolve: bool
    auto_resolve_timeout: float
    quiet_hours: dict[str, Any] | None
    enabled: bool
    shadow: bool
    tags: list[str] | dict[str, str]
    revision: int
    total_triggers: int
    last_triggered: Instant | None
    created_at: Instant
    updated_at: Instant
    created_by: str
    findings: list[Finding] | None = None


class RuleChanged(Rule):
    """A changed rule; `closed_alerts` ended with the change."""

    success: bool
    message: str
    closed_alerts: int


class RulePreview(Answer):
    """What a change would do: `closed_alerts` would end, as those of a rule that decides anew."""

    rule_id: str
    decides_anew: bool
    closed_alerts: int
    findings: list[Finding]


class RuleDeleted(Answer):
    """A rule is gone; its alerts stay, and those that were open are closed."""

    success: bool
    message: str
    rule_id: str
    closed_alerts: int


class RuleList(Answer):
    """A page of rules, by name."""

    rules: list[Rule]
    count: int
    total: int
    filters: dict[str, Any]
    limit: int
    offset: int
    next_cursor: str | None = None

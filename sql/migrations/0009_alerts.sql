-- Alerts: rules, what came of them and why, who was told, who does not want to be told, and long work.

-- What the evaluator's turn depends on besides the journal. Whoever changes a rule or a watch, or ends an alert by
-- hand, takes this row first, so that changes come one after the other; the evaluator reads it `for share` in the
-- transaction of its turn: a turn judged by other versions than these writes nothing.
create table telemetry.alert_version (
  singleton boolean primary key default true check (singleton),
  -- Grows with every change of a rule or a watch.
  rules_version bigint not null default 1,
  -- Grows with every alert that anybody but the evaluator ended.
  closings_version bigint not null default 1
);
insert into telemetry.alert_version default values;

-- The fields of the contract by their names; durations in seconds but for cooldown_minutes. Values that may be a
-- number, a text or a truth value are JSON.
create table telemetry.alert_rule (
  rule_id text primary key,
  name text not null unique,
  description text,
  metric_name text not null,
  kind text not null check (kind in ('threshold', 'absence', 'transition')),
  -- Null where the kind needs none.
  condition text,
  threshold_value jsonb,
  level text not null,
  -- Both empty: every device with the metric. Groups by id or name, as they were given; a group that is gone has nobody.
  device_ids text[] not null default '{}',
  device_groups text[] not null default '{}',
  evaluation_window float8 not null default 0,
  trigger_count int4 not null default 1,
  -- `for` in the contract: how long the condition must have held.
  hold_s float8 not null default 0,
  resolve_threshold float8,
  no_data text not null default 'ok' check (no_data in ('ok', 'keep', 'alert')),
  -- `from` and `to` of a transition; null: any.
  from_value jsonb,
  to_value jsonb,
  -- Of absence; null: learned, `"auto"` in the contract.
  expected_interval float8,
  grace_factor float8 not null default 3,
  notification_channels text[] not null default '{}',
  cooldown_minutes float8 not null default 15,
  auto_resolve boolean not null default true,
  auto_resolve_timeout float8 not null default 300,
  quiet_hours jsonb,
  enabled boolean not null default true,
  shadow boolean not null default false,
  tags jsonb not null default '[]',
  -- Grows with every change.
  revision int4 not null default 1,
  -- Names what decides (domain/rules.condition_key): an edit that keeps it keeps the open alerts.
  condition_key text not null,
  -- Firings ever, shadow ones too; written by the evaluator with the alert.
  total_triggers bigint not null default 0,
  last_triggered timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  updated_by text not null
);
-- Read by rules.list_rules with a metric filter, and by rules.twins.
create index alert_rule_metric on telemetry.alert_rule (metric_name);

-- No reference to the rule or the device: an alert outlives both, with the words it fired with.
create table telemetry.alert (
  alert_id text primary key,
  rule_id text not null,
  rule_name text not null,
  -- Of the rule that decided it.
  rule_revision int4 not null,
  -- Which series of the device it was; null where no single one is meant.
  series_id int4,
  -- Null for an absence that is raised for a group or for the own ingest.
  device_id text,
  metric_name text not null,
  -- What an absence explains: the metric of a device, the whole device, a group, or all that this system takes in.
  -- Everything else is of one metric.
  scope text not null default 'metric' check (scope in ('metric', 'device', 'group', 'ingest')),
  group_id text,
  level text not null,
  status text not null default 'active' check (status in ('active', 'acknowledged', 'resolved')),
  -- Recorded but told nobody, since its rule was a shadow when it fired.
  is_shadow boolean not null default false,
  -- Open without data (`no_data: keep`).
  is_stale boolean not null default false,
  -- Fired for silence: only a sample ends it.
  by_silence boolean not null default false,
  value jsonb,
  condition text,
  threshold_value jsonb,
  message text not null,
  -- The moment of decision; event_time is the instant of the deciding sample.
  triggered_at timestamptz not null,
  event_time timestamptz not null,
  -- Newest breach by event time, as far as it is stored: the evaluator moves it with what it writes anyway.
  last_breach timestamptz not null,
  acknowledged_by text,
  acknowledged_at timestamptz,
  acknowledged_note text,
  resolved_by text,
  resolved_at timestamptz,
  resolved_note text,
  resolved_reason text,
  -- The instant by event time; null when a user or a change of the rule ended it.
  resolved_event_time timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  check ((status = 'resolved') = (resolved_at is not null))
);
-- One open alert per rule and device, whatever the evaluators do; insert with `on conflict do nothing`.
create unique index alert_open on telemetry.alert (rule_id, device_id, scope, group_id) nulls not distinct
 where status <> 'resolved';
-- Read by alerts.list_alerts without a filter, and by stats.
create index alert_triggered on telemetry.alert (triggered_at desc, alert_id desc);
-- Read by alerts.list_alerts with a device filter, by device stats and when a device is deleted.
create index alert_device on telemetry.alert (device_id, triggered_at desc);
-- Read by alerts.list_alerts with a rule filter, and by the evaluator for cooldowns.
create index alert_rule_time on telemetry.alert (rule_id, event_time desc);
-- Read by housekeeping's expire_alerts.
create index alert_resolved on telemetry.alert (resolved_at) where status = 'resolved';

-- Every change of an alert with what decided it: what *explain* shows.
create table telemetry.alert_step (
  step_id bigint generated always as identity primary key,
  alert_id text not null references telemetry.alert (alert_id) on delete cascade,
  -- When it was decided, and the instant by event time it was decided for (null for what users do).
  at timestamptz not null default clock_timestamp(),
  event_time timestamptz,
  -- fired, acknowledged, resolved, stale, fresh, or notified (a verdict on a channel).
  "to" text not null,
  reason text not null,
  -- The samples of the window with event and arrival times, threshold, count, ages; or channel and verdict.
  inputs jsonb not null default '{}',
  by text
);
-- Read by alerts.steps.
create index alert_step_alert on telemetry.alert_step (alert_id, step_id);

-- Samples that came too late to count, per rule and device; shown by explain.
create table telemetry.late_sample (
  rule_id text not null references telemetry.alert_rule (rule_id) on delete cascade,
  device_id text not null,
  samples bigint not null default 0,
  first_at timestamptz not null default clock_timestamp(),
  last_at timestamptz not null default clock_timestamp(),
  primary key (rule_id, device_id)
);

-- Matchers are those of the contract; all of them must fit. What a silence keeps from being told is recorded all the same.
create table telemetry.silence (
  silence_id text primary key,
  matchers jsonb not null,
  starts_at timestamptz not null,
  -- Moved to now when it is ended early.
  ends_at timestamptz not null check (ends_at >= starts_at),
  comment text not null default '',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  created_by text not null
);
-- Read by silences.active and by housekeeping.
create index silence_ends on telemetry.silence (ends_at);

-- A personal rule that fires once. It makes no alert: it is marked, and its owner is told.
create table telemetry.watch (
  watch_id text primary key,
  -- Who made it and alone sees it: the key, or the account behind a login.
  owner text not null,
  device_id text not null,
  metric_name text not null,
  -- As of a transition rule; null: any.
  from_value jsonb,
  to_value jsonb,
  quiet_hours jsonb,
  notification_channels text[] not null default '{}',
  expires_at timestamptz not null,
  revision int4 not null default 1,
  -- When it was decided, and the sample that did it.
  fired_at timestamptz,
  fired_event_time timestamptz,
  fired_value jsonb,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
-- Read by watches.list_watches and the quota.
create index watch_owner on telemetry.watch (owner, created_at desc);
-- Read by watches.waiting (the evaluator), and when a device is deleted.
create index watch_waiting on telemetry.watch (device_id, metric_name) where fired_at is null;
-- Read by housekeeping's expire_watches.
create index watch_expires on telemetry.watch (expires_at);

create table telemetry.channel (
  channel_id text primary key,
  name text not null unique,
  kind text not null,
  -- What may be shown; secrets are apart, encrypted with [auth] secret_key, null when there are none.
  settings jsonb not null default '{}',
  secrets bytea,
  -- Name of the channel that takes over for good when this one gives up on a message.
  fallback text,
  -- The circuit breaker: failures in a row, and until when nothing is sent.
  failures int4 not null default 0,
  open_until timestamptz,
  last_sent_at timestamptz,
  last_failed_at timestamptz,
  last_error text,
  revision int4 not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  created_by text not null
);

-- One message to one recipient, and what became of it. Written in the transaction that decided it.
create table telemetry.notification (
  notification_id text primary key,
  -- Order of decision; the messages of one alert to one channel leave in it.
  ordinal bigint generated always as identity unique,
  -- What it is about: an alert, a watch, or neither (digests and tests). No references: the ledger outlives them.
  alert_id text,
  watch_id text,
  rule_id text,
  device_id text,
  metric_name text,
  level text,
  -- The name of the channel; it may be unknown or gone, which is a verdict, too.
  channel text not null,
  kind text not null check (kind in ('fire', 'repeat', 'close', 'digest', 'test')),
  -- pending: to be sent at next_attempt_at; deferred: waits for a digest; dead: given up, can be replayed;
  -- dropped: nobody will be told, `verdict` says why.
  status text not null default 'pending' check (status in ('pending', 'deferred', 'sent', 'dead', 'dropped')),
  -- sent, failed, cooldown, quiet, silenced, grouped, acknowledged, shadow, unknown_channel, fallback ...; with until when,
  -- by which silence, into which digest and the like in verdict_data.
  verdict text,
  verdict_data jsonb not null default '{}',
  -- The digest that carries it (grouped), and the message it stands in for (fallback).
  digest_id text,
  replaces_id text,
  -- What is sent, as decided; null where the alert says it all.
  payload jsonb,
  attempts int4 not null default 0,
  next_attempt_at timestamptz,
  -- Who is sending it, and until when nobody else may.
  claimed_by uuid,
  claimed_until timestamptz,
  last_status int4,
  last_error text,
  -- The same for every attempt, so that a receiver can drop repeats; and a message is decided only once.
  idempotency_key text not null unique,
  created_at timestamptz not null default clock_timestamp(),
  sent_at timestamptz
);
-- Exactly one firing and one closing message per alert and recipient; what stands in for another does not count.
create unique index notification_once on telemetry.notification (alert_id, channel, kind)
 where kind in ('fire', 'close') and replaces_id is null;
-- Read by notifications.claim_due.
create index notification_due on telemetry.notification (next_attempt_at, ordinal) where status = 'pending';
-- Read by notifications.deferred when a digest is made.
create index notification_deferred on telemetry.notification (channel, next_attempt_at) where status = 'deferred';
-- Read by notifications.list_notifications.
create index notification_channel on telemetry.notification (channel, ordinal desc);
-- Read by notifications.of_alert.
create index notification_alert on telemetry.notification (alert_id, ordinal);
-- Read by housekeeping's expire_notifications.
create index notification_created on telemetry.notification (created_at);

-- The ledger: every attempt to send.
create table telemetry.notification_attempt (
  notification_id text not null references telemetry.notification (notification_id) on delete cascade,
  attempt int4 not null,
  at timestamptz not null default clock_timestamp(),
  latency_ms float8,
  outcome text not null,
  -- Of HTTP or SMTP; null without an answer.
  status_code int4,
  response_digest text,
  detail text,
  primary key (notification_id, attempt)
);

create table telemetry.job (
  job_id text primary key,
  type text not null,
  state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed')),
  params jsonb not null default '{}',
  -- From 0 to 1, and in words.
  progress float8 not null default 0,
  progress_text text,
  result jsonb,
  -- `{"code", "detail"}` of a job that failed.
  error jsonb,
  -- What it is about, where it is one device or metric: who may not see those, may not see it.
  device_id text,
  metric_name text,
  -- The process at work, and until when it is believed to live: after that another takes the job.
  holder uuid,
  held_until timestamptz,
  attempts int4 not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  created_by text not null
);
-- Read by jobs.claim.
create index job_waiting on telemetry.job (created_at) where state in ('queued', 'running');
-- Read by jobs.latest.
create index job_type on telemetry.job (type, device_id, created_at desc);
-- Read by housekeeping's expire_jobs.
create index job_finished on telemetry.job (finished_at);

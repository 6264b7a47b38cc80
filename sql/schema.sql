-- The whole schema, as all migrations together make it; a test proves the two equal.
-- For reading: databases are made and brought up to date by the migrations alone. The hourly partitions of the journal
-- are left out.

-- Who sends what: devices, series, metric definitions, and the row that identifies this installation.

create schema telemetry;

create table telemetry.migration (
  number int4 primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default clock_timestamp()
);

create table telemetry.installation (
  singleton boolean primary key default true check (singleton),
  -- Changes when the numbering of the journal could have gone back (restore, fail-over); first half of every cursor.
  epoch text not null default substr(md5(gen_random_uuid()::text), 1, 8),
  -- Grows with every change that makes a cached series or definition wrong; journal_append refuses stale writers.
  catalog_version bigint not null default 1,
  created_at timestamptz not null default clock_timestamp(),
  -- Blocks up to journal_floor and events up to event_floor may have been removed: a cursor before them has a gap.
  journal_floor bigint not null default 0,
  event_floor bigint not null default 0
);

create table telemetry.device (
  device_id text primary key,
  name text,
  device_type text,
  tags jsonb not null default '{}',
  attributes jsonb not null default '{}',
  location jsonb,
  expected_interval_s float8,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp()
);
-- Read by devices.list_devices with a tag filter.
create index device_tags on telemetry.device using gin (tags jsonb_path_ops);
-- Read by devices.list_devices with a type filter.
create index device_type on telemetry.device (device_type, device_id);

-- A series is (device, metric, labels): labels are {} for the native API, so (time, device, metric) is the key of a point there.
-- `kind` says how `numbers` read (1 numeric, 2 string, 3 boolean, 4 json, 5 geolocation, 6 binary); a value of another kind
-- is kept as a JSON object and says its own type.
create table telemetry.series (
  series_id int4 generated always as identity primary key,
  device_id text not null references telemetry.device (device_id),
  metric_name text not null,
  labels jsonb not null default '{}',
  kind int2 not null,
  created_at timestamptz not null default clock_timestamp(),
  unique (device_id, metric_name, labels)
);
-- Read by metrics.metric_has_data and queries that name a metric only.
create index series_metric on telemetry.series (metric_name, series_id);

create table telemetry.metric_definition (
  metric_id text primary key,
  name text not null unique,
  description text,
  data_type text not null,
  metric_type text not null default 'gauge',
  unit text,
  min_value float8,
  max_value float8,
  allowed_values jsonb,
  retention_days int4 not null default 90 check (retention_days between 1 and 3650),
  aggregation_interval int4,
  tags jsonb not null default '[]',
  metadata jsonb not null default '{}',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  created_by text not null
);

-- Retention outlives the definition it came from.
create table telemetry.metric_retention (
  metric_name text primary key,
  retention_days int4 not null check (retention_days between 1 and 3650),
  updated_at timestamptz not null default clock_timestamp()
);

-- The journal: every point enters here, in commit order; and who follows it how far.

create sequence telemetry.journal_seq;

create table telemetry.journal (
  seq bigint not null,
  appended_at timestamptz not null,
  writer uuid not null,
  points int4 not null,
  body bytea not null,
  primary key (seq, appended_at)
) partition by range (appended_at);
-- The body is packed columns: compressing it again would cost more than the disk it saves.
alter table telemetry.journal alter column body set storage external;

create table telemetry.consumer (
  name text primary key,
  position bigint not null default 0,
  holder uuid,
  lease_epoch bigint not null default 0,
  lease_expires_at timestamptz not null default '-infinity'
);

create table telemetry.daemon (
  instance uuid primary key,
  address text not null,
  started_at timestamptz not null default clock_timestamp(),
  seen_at timestamptz not null default clock_timestamp()
);

create table telemetry.ingest_batch (
  scope text not null,
  batch_id text not null,
  payload_hash bytea not null,
  answer bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (scope, batch_id)
);
-- Read by housekeeping's expire_batches.
create index ingest_batch_created on telemetry.ingest_batch (created_at);

-- Make the hourly partitions of the journal from p_from for p_hours; only housekeeping and the start call this.
create function telemetry.journal_make_partitions(p_from timestamptz, p_hours int) returns int
language plpgsql as $$
declare
  hour timestamptz;
  label text;
  made int := 0;
begin
  perform pg_advisory_xact_lock(8218, 2);
  for i in 0 .. p_hours - 1 loop
    hour := date_trunc('hour', p_from, 'UTC') + make_interval(hours => i);
    label := 'journal_' || to_char(hour at time zone 'UTC', 'YYYYMMDDHH24');
    if to_regclass('telemetry.' || label) is null then
      -- Attached after it was made: `partition of` would stop every reader and writer of the journal.
      execute format('create table telemetry.%I (like telemetry.journal including storage)', label);
      execute format('alter table telemetry.journal attach partition telemetry.%I for values from (%L) to (%L)',
                     label, hour, hour + interval '1 hour');
      made := made + 1;
    end if;
  end loop;
  return made;
end $$;

-- Append one block in commit order and return its position (design: the lock is held to the end of the transaction,
-- so a number is only taken when every smaller one is already visible).
-- Raises TL001 when the writer's catalogue is stale, TL002 when a batch id is already stored.
create function telemetry.journal_append(
  p_writer uuid, p_catalog_version bigint, p_points int4, p_body bytea, p_notify boolean,
  p_scopes text[], p_batch_ids text[], p_payload_hashes bytea[], p_answers bytea[]
) returns bigint
language plpgsql as $$
declare
  stored int;
  next_seq bigint;
begin
  if cardinality(p_batch_ids) > 0 then
    insert into telemetry.ingest_batch (scope, batch_id, payload_hash, answer)
    select b.scope, b.batch_id, b.payload_hash, b.answer
      from unnest(p_scopes, p_batch_ids, p_payload_hashes, p_answers) as b (scope, batch_id, payload_hash, answer)
     order by b.scope, b.batch_id
    on conflict do nothing;
    get diagnostics stored = row_count;
    if stored <> cardinality(p_batch_ids) then
      raise exception 'a batch id is already stored' using errcode = 'TL002';
    end if;
  end if;
  perform pg_advisory_xact_lock(8218, 1);
  if p_catalog_version <> (select i.catalog_version from telemetry.installation i) then
    raise exception 'the catalogue of the writer is stale' using errcode = 'TL001';
  end if;
  next_seq := nextval('telemetry.journal_seq');
  insert into telemetry.journal (seq, appended_at, writer, points, body)
  values (next_seq, clock_timestamp(), p_writer, p_points, p_body);
  if p_notify then
    perform pg_notify('telemetry_journal', '');
  end if;
  return next_seq;
end $$;

-- A change that makes cached series or definitions wrong takes the same lock, so that no stale block commits after it.
create function telemetry.catalog_changed() returns bigint
language plpgsql as $$
declare
  version bigint;
begin
  perform pg_advisory_xact_lock(8218, 1);
  update telemetry.installation set catalog_version = catalog_version + 1 returning catalog_version into version;
  perform pg_notify('telemetry_journal', '');
  return version;
end $$;

-- History: chunks of points by series and span, hourly rollups, and the newest point of each series.

-- A chunk never crosses midnight UTC, and the spans of a series do not overlap.
-- Times are start_us plus the running sum of `ticks` times tick_us (ticks null: each tick is 1).
-- Numbers are (base + running sum of (steps + 256 * carries)) / scale, else `numbers` (NaN where the value is an
-- object); carries null: all are 0. Two arrays, because PostgreSQL's compression finds repeats only: the carries repeat.
-- `objects` is one JSON array, null where the value is a number. `context_of` is the 1-based place in `contexts`, 0 for
-- none (null: every point has the only context). JSON is kept as text so that it comes back as it came.
create table telemetry.chunk (
  series_id int4 not null,
  start_us int8 not null,
  end_us int8 not null,
  points int4 not null,
  tick_us int8 not null,
  ticks int4[],
  scale int4,
  base int8,
  steps "char"[],
  carries int2[],
  numbers float8[],
  objects json,
  context_of int2[],
  contexts json,
  -- Whole days lie apart from the pieces of days that go on, so that the room of merged pieces can be given back.
  is_whole boolean not null default false,
  primary key (series_id, start_us, is_whole)
) partition by list (is_whole);
create table telemetry.chunk_piece partition of telemetry.chunk for values in (false);
create table telemetry.chunk_day partition of telemetry.chunk for values in (true);
-- Read by chunks.expire_chunks.
create index chunk_end on telemetry.chunk using brin (end_us) with (pages_per_range = 16);

-- Hours are whole hours since 1970 UTC. `points` counts all points, the rest covers numeric and boolean values only.
create table telemetry.rollup (
  series_id int4 not null,
  hour int4 not null,
  points int4 not null,
  numbers int4 not null,
  sum float8,
  min float8,
  max float8,
  first float8,
  last float8,
  primary key (series_id, hour)
);

-- Read by stats.points_by_hour.
create index rollup_hour on telemetry.rollup using brin (hour) with (pages_per_range = 16);

create table telemetry.latest (
  series_id int4 primary key,
  time_us int8 not null,
  seq int8 not null,
  number float8,
  object json,
  context json,
  changed_at_us int8 not null,
  previous json
) with (fillfactor = 70);

-- Microseconds since 1970 to a timestamp, exactly (to_timestamp would go through a double).
create function telemetry.from_us(us int8) returns timestamptz
language sql immutable parallel safe as $$
  select timestamptz '1970-01-01 00:00:00+00' + (us / 1000000) * interval '1 second'
         + (us % 1000000) * interval '1 microsecond'
$$;

create function telemetry.to_us(at timestamptz) returns int8
language sql immutable parallel safe as $$
  select (extract(epoch from at) * 1000000)::int8
$$;

-- The points of one chunk, in time order. The arrays are unnested side by side, null where one has ended: a subscript
-- would decompress the array for each point, and a function in the FROM clause would store the rows first.
create function telemetry.chunk_points(c telemetry.chunk)
returns table (time_us int8, number float8, object json, context json)
language sql immutable parallel safe as $$
  select c.start_us + c.tick_us * coalesce(sum(p.tick) over w, p.place - 1),
         case when c.scale is not null then (c.base + sum(p.step::int4 + 256 * coalesce(p.carry, 0)) over w)::float8 / c.scale
              when p.object is null or json_typeof(p.object) = 'null' then p.number end,
         case when json_typeof(p.object) <> 'null' then p.object end,
         case when c.contexts is not null
              then c.contexts -> case when p.context is null then 0 when p.context > 0 then p.context - 1 end end
    from (select generate_series(1, c.points) as place, unnest(c.ticks) as tick, unnest(c.steps) as step,
                 unnest(c.carries) as carry, unnest(c.numbers) as number, json_array_elements(c.objects) as object,
                 unnest(c.context_of) as context) p
  window w as (rows unbounded preceding)
$$;

create view telemetry.point as
select telemetry.from_us(p.time_us) as time, s.device_id, s.metric_name, s.labels,
       case when s.kind <> 3 then p.number end as number,
       coalesce(p.object::jsonb, case when s.kind = 3 then to_jsonb(p.number <> 0) else to_jsonb(p.number) end) as value,
       p.context ->> 'unit' as unit, (p.context -> 'tags')::jsonb as tags, (p.context -> 'metadata')::jsonb as metadata
  from telemetry.chunk c
  join telemetry.series s using (series_id)
 cross join lateral telemetry.chunk_points(c) p;

-- History of one metric of one device in [p_from, p_to), in time order, read from the chunks that touch the range only.
create function telemetry.points(p_device text, p_metric text, p_from timestamptz, p_to timestamptz)
returns table ("time" timestamptz, number float8, value jsonb, unit text, tags jsonb)
language sql stable as $$
  select telemetry.from_us(p.time_us),
         case when s.kind <> 3 then p.number end,
         coalesce(p.object::jsonb, case when s.kind = 3 then to_jsonb(p.number <> 0) else to_jsonb(p.number) end),
         p.context ->> 'unit', (p.context -> 'tags')::jsonb
    from telemetry.series s
    join telemetry.chunk c using (series_id)
   cross join lateral telemetry.chunk_points(c) p
   where s.device_id = p_device and s.metric_name = p_metric
     -- No chunk crosses midnight, so none that begins a day before p_from reaches it.
     and c.start_us > telemetry.to_us(p_from) - 86400000000 and c.start_us < telemetry.to_us(p_to)
     and c.end_us >= telemetry.to_us(p_from)
     and p.time_us >= telemetry.to_us(p_from) and p.time_us < telemetry.to_us(p_to)
   order by p.time_us
$$;

-- Access: API keys; only hashes of their secrets are stored.

create table telemetry.api_key (
  key_id text primary key,
  name text not null,
  env text not null default 'live',
  secret_hash bytea not null,
  -- After a rotation the former secret stays valid until its overlap ends.
  former_hash bytea,
  former_valid_until timestamptz,
  scopes text[] not null,
  tier text not null default 'free',
  devices text[],
  groups text[],
  metrics text[],
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  last_used_from text,
  -- Ed25519 public keys by which requests are checked: of the secret, and of the former one.
  signing_key bytea check (octet_length(signing_key) = 32),
  former_signing_key bytea check (octet_length(former_signing_key) = 32),
  -- Keys and accounts in whose budgets this key's requests are counted beside its own, with their tiers; the widest first.
  payers text[] not null default '{}',
  payer_tiers text[] not null default '{}'
);

-- Sessions: accounts of people, and what a login gives: a session with refresh tokens that follow one another.

-- `account_id` is who did something; the name may be given again after the account is gone.
create table telemetry.account (
  account_id text primary key,
  username text not null,
  -- argon2id, with its parameters and salt.
  password_hash text not null,
  scopes text[] not null,
  tier text not null default 'free',
  devices text[],
  groups text[],
  metrics text[],
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  disabled_at timestamptz,
  last_login_at timestamptz,
  updated_at timestamptz not null default clock_timestamp()
);
-- Read by accounts.account_by_name; `Ann` and `ann` are one name.
create unique index account_name on telemetry.account (lower(username));

-- A login: of a key with the secret it was shown by, or of an account.
create table telemetry.session (
  session_id text primary key,
  key_id text,
  key_hash bytea,
  account_id text,
  created_at timestamptz not null default clock_timestamp(),
  created_from text not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  -- One of `logout`, `reused`, `password`, `disabled`.
  revoked_because text,
  check ((key_id is null) <> (account_id is null)),
  check ((key_id is null) = (key_hash is null))
);
-- Read by sessions.end_sessions_of, which ends those of an account.
create index session_account on telemetry.session (account_id) where account_id is not null;
-- Read by housekeeping's expire_sessions.
create index session_expires on telemetry.session (expires_at);

-- Only hashes. Each token is used once; its successor is made from it and `salt`, so that those that come with one
-- token at the same time get the same next one, which is stored nowhere.
create table telemetry.refresh_token (
  token_hash bytea primary key,
  session_id text not null references telemetry.session on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  used_at timestamptz,
  salt bytea
);
-- Read where a session is deleted with its tokens.
create index refresh_token_session on telemetry.refresh_token (session_id);

-- Events: what happened, in the order of the journal; at once the feed, and the outbox of the relay.

-- `seq` comes from the journal's sequence under the journal's lock, so one cursor orders points and events.
-- `device_id` and `metric_name` say what the event is about: who may not see those, may not see it.
create table telemetry.event (
  seq bigint primary key,
  event_id text not null unique,
  type text not null,
  severity text not null,
  subject text,
  message text not null,
  data jsonb not null default '{}',
  device_id text,
  metric_name text,
  occurred_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  -- The same thing told twice is one event.
  dedup_id text not null unique
);
-- Read by events.newest with a type filter.
create index event_type on telemetry.event (type, seq);
-- Read by housekeeping's expire_events.
create index event_created on telemetry.event (created_at);

-- Append one event and return its position, null when its dedup id is stored already. The last statement of a change,
-- since it holds up every append until the commit.
create function telemetry.event_append(
  p_event_id text, p_type text, p_severity text, p_subject text, p_message text, p_data jsonb,
  p_device_id text, p_metric_name text, p_occurred_at timestamptz, p_created_by text, p_dedup_id text
) returns bigint
language plpgsql as $$
declare
  stored bigint;
begin
  perform pg_advisory_xact_lock(8218, 1);
  insert into telemetry.event (seq, event_id, type, severity, subject, message, data, device_id, metric_name,
                               occurred_at, created_by, dedup_id)
  values (nextval('telemetry.journal_seq'), p_event_id, p_type, p_severity, p_subject, p_message, p_data, p_device_id,
          p_metric_name, p_occurred_at, p_created_by, coalesce(p_dedup_id, p_event_id))
  on conflict (dedup_id) do nothing
  returning seq into stored;
  perform pg_notify('telemetry_journal', '');
  return stored;
end $$;

-- Groups of devices: a tree of named sets.

create table telemetry.device_group (
  group_id text primary key,
  name text not null unique,
  kind text not null,
  parent_id text references telemetry.device_group (group_id),
  location jsonb,
  metadata jsonb not null default '{}',
  -- The version of all groups when this one, or who is in it, changed last: daemons read what changed since they looked.
  version bigint not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  created_by text not null
);
-- Read by groups.has_children.
create index device_group_parent on telemetry.device_group (parent_id);

create table telemetry.group_member (
  group_id text not null references telemetry.device_group (group_id),
  device_id text not null references telemetry.device (device_id),
  added_at timestamptz not null default clock_timestamp(),
  primary key (group_id, device_id)
);
-- Read by devices.leave_groups.
create index group_member_device on telemetry.group_member (device_id);

-- Grows with every change of a group. Whoever changes one takes this row first (after the devices it names), so that
-- changes come one after the other. Apart from the version of the catalogue: no block that was judged becomes wrong.
create table telemetry.group_version (
  singleton boolean primary key default true check (singleton),
  version bigint not null default 1
);

-- Streams: subscriptions that a socket finds by their id, and tickets that open one socket each.

-- `wanted` is what the client asked for. Nobody but the key that made it finds it.
create table telemetry.subscription (
  subscription_id text primary key,
  key_id text not null,
  wanted jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  -- Without a socket it ends here; the process that holds one moves this on.
  expires_at timestamptz not null
);
-- Read by subscriptions.insert_subscription, which counts those of a key.
create index subscription_key on telemetry.subscription (key_id, expires_at);
-- Read by housekeeping's expire_subscriptions.
create index subscription_expires on telemetry.subscription (expires_at);

-- Only the hash of a ticket is stored; the row goes when it is used.
create table telemetry.ticket (
  ticket_hash bytea primary key,
  key_id text not null,
  -- What the ticket opens; both null: any stream.
  subscription_id text,
  channel text,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  -- A ticket of a session ends with it.
  session_id text
);
-- Read by housekeeping's expire_tickets.
create index ticket_expires on telemetry.ticket (expires_at);

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
  updated_by text not null,
  -- Blocks up to this position are not judged by it.
  since_seq bigint not null default 0
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
  updated_at timestamptz not null default clock_timestamp(),
  -- Blocks up to this position are not judged by it.
  since_seq bigint not null default 0
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

-- Append events, in the order given, and return the ids of those that were not stored before. The last statement of a
-- change, since it holds up every append until the commit.
create function telemetry.events_append(p_events jsonb) returns setof text
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(8218, 1);
  return query
    insert into telemetry.event (seq, event_id, type, severity, subject, message, data, device_id, metric_name,
                                 occurred_at, created_by, dedup_id)
    select nextval('telemetry.journal_seq'), e.event_id, e.type, e.severity, e.subject, e.message, e.data, e.device_id,
           e.metric_name, e.occurred_at, e.created_by, coalesce(e.dedup_id, e.event_id)
      from rows from (jsonb_to_recordset(p_events) as (
             event_id text, type text, severity text, subject text, message text, data jsonb, device_id text,
             metric_name text, occurred_at timestamptz, created_by text, dedup_id text)) with ordinality
             as e (event_id, type, severity, subject, message, data, device_id, metric_name, occurred_at, created_by,
                   dedup_id, place)
     order by e.place
    on conflict (dedup_id) do nothing
    returning event.event_id;
  perform pg_notify('telemetry_journal', '');
end $$;

-- Of a budget by the hour `slots` and `counts` say how many requests were in which half minute since 1970, oldest first;
-- of a budget of points, `points` are left at `changed_at`. There is no index beside the key, so that an update stays in
-- its page.
create table telemetry.budget (
  subject text,
  class text,
  slots int4[] not null default '{}',
  counts int4[] not null default '{}',
  points float8,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (subject, class)
) with (fillfactor = 70);

-- Take up to p_want requests of a budget of p_limit in any hour. p_owed were let in before without being asked for; a
-- negative number is given back. `left_over` is what remains for all, `wait_s` how long until something of it expires.
create function telemetry.take_requests(p_subject text, p_class text, p_want int4, p_limit int4, p_owed int4,
                                        out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_slots int4[];
  v_counts int4[];
  v_used int4;
  v_add int4;
  v_last int4;
  v_now float8;
  v_slot int4;
begin
  -- A budget that a crash loses is no harm, and nobody is to wait for the disk.
  perform set_config('synchronous_commit', 'off', true);
  insert into telemetry.budget (subject, class) values (p_subject, p_class) on conflict do nothing;
  select b.slots, b.counts into v_slots, v_counts
    from telemetry.budget b where b.subject = p_subject and b.class = p_class for update;
  v_now := extract(epoch from clock_timestamp());
  v_slot := floor(v_now / 30);
  -- A slot counts until its youngest request is an hour old.
  select coalesce(array_agg(x.slot order by x.slot), '{}'), coalesce(array_agg(x.n order by x.slot), '{}'),
         coalesce(sum(x.n), 0)
    into v_slots, v_counts, v_used
    from unnest(v_slots, v_counts) x (slot, n)
   where x.slot >= v_slot - 120 and x.n > 0;
  granted := least(p_want, greatest(p_limit - v_used - p_owed, 0));
  v_add := granted + p_owed;
  v_used := greatest(v_used + v_add, 0);
  v_last := coalesce(array_length(v_slots, 1), 0);
  if v_add > 0 then
    if v_last > 0 and v_slots[v_last] >= v_slot then
      v_counts[v_last] := v_counts[v_last] + v_add;
    else
      v_slots := v_slots || v_slot;
      v_counts := v_counts || v_add;
    end if;
  end if;
  while v_add < 0 and v_last > 0 loop
    v_counts[v_last] := v_counts[v_last] + v_add;
    v_add := least(v_counts[v_last], 0);
    v_counts[v_last] := greatest(v_counts[v_last], 0);
    v_last := v_last - 1;
  end loop;
  update telemetry.budget b set slots = v_slots, counts = v_counts, changed_at = clock_timestamp()
   where b.subject = p_subject and b.class = p_class;
  left_over := greatest(p_limit - v_used, 0);
  wait_s := coalesce(30 * (v_slots[1] + 121) - v_now, 0);
end $$;

-- Take p_need points, or up to p_want, of a budget that p_per_s points are added to up to p_burst. Who needs more than
-- that may have it when the budget is full, and then waits longer. p_owed and the answer are as those of take_requests;
-- `wait_s` is how long until p_need are there, or, if they were, until the budget is full.
create function telemetry.take_points(p_subject text, p_class text, p_need int4, p_want int4, p_per_s float8,
                                      p_burst float8, p_owed int4,
                                      out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_points float8;
  v_changed_at timestamptz;
  v_now timestamptz;
  v_need float8 := least(p_need, p_burst);
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into telemetry.budget (subject, class) values (p_subject, p_class) on conflict do nothing;
  select b.points, b.changed_at into v_points, v_changed_at
    from telemetry.budget b where b.subject = p_subject and b.class = p_class for update;
  v_now := clock_timestamp();
  v_points := least(p_burst, coalesce(v_points + p_per_s * greatest(extract(epoch from v_now - v_changed_at), 0),
                                      p_burst));
  v_points := least(p_burst, v_points - p_owed);
  granted := case when v_points >= v_need then greatest(p_need, least(p_want, floor(v_points))) else 0 end;
  v_points := v_points - granted;
  update telemetry.budget b set points = v_points, changed_at = v_now
   where b.subject = p_subject and b.class = p_class;
  left_over := greatest(floor(v_points), 0);
  wait_s := case when p_need > 0 and granted = 0 then (v_need - v_points) / p_per_s
                 else (p_burst - v_points) / p_per_s end;
end $$;

-- As take_requests, of several budgets at once: what the last subject takes, all before it pay for. Each grants what those
-- before it did at most, and gets back what those behind it did not want. `left_over` and `wait_s` are those of the
-- scarcest.
create function telemetry.take_requests_of(p_subjects text[], p_class text, p_want int4, p_limits int4[], p_owed int4,
                                           out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_taken record;
  v_granted int4[] := '{}';
  v_left int4[] := '{}';
  v_wait float8[] := '{}';
begin
  granted := p_want;
  for i in 1 .. cardinality(p_subjects) loop
    select t.granted, t.left_over, t.wait_s into v_taken
      from telemetry.take_requests(p_subjects[i], p_class, granted, p_limits[i], p_owed) t;
    granted := v_taken.granted;
    v_granted := v_granted || v_taken.granted;
    v_left := v_left || v_taken.left_over;
    v_wait := v_wait || v_taken.wait_s;
  end loop;
  for i in 1 .. cardinality(p_subjects) loop
    if v_granted[i] > granted then
      perform telemetry.take_requests(p_subjects[i], p_class, 0, p_limits[i], granted - v_granted[i]);
      v_left[i] := v_left[i] + v_granted[i] - granted;
    end if;
    if left_over is null or v_left[i] < left_over then
      left_over := v_left[i];
      wait_s := v_wait[i];
    end if;
  end loop;
end $$;

-- The same of budgets of points.
create function telemetry.take_points_of(p_subjects text[], p_class text, p_need int4, p_want int4, p_per_s float8[],
                                         p_bursts float8[], p_owed int4,
                                         out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_taken record;
  v_granted int4[] := '{}';
  v_left int4[] := '{}';
  v_is_short boolean := false;
begin
  granted := p_want;
  wait_s := 0;
  for i in 1 .. cardinality(p_subjects) loop
    -- Behind one that has not enough nothing is taken, but what is owed is.
    select t.granted, t.left_over, t.wait_s into v_taken
      from telemetry.take_points(p_subjects[i], p_class, case when v_is_short then 0 else p_need end, granted,
                                 p_per_s[i], p_bursts[i], p_owed) t;
    granted := v_taken.granted;
    v_granted := v_granted || v_taken.granted;
    v_left := v_left || v_taken.left_over;
    if not v_is_short then
      v_is_short := p_need > 0 and granted = 0;
      wait_s := case when v_is_short then v_taken.wait_s else greatest(wait_s, v_taken.wait_s) end;
    end if;
  end loop;
  for i in 1 .. cardinality(p_subjects) loop
    if v_granted[i] > granted then
      perform telemetry.take_points(p_subjects[i], p_class, 0, 0, p_per_s[i], p_bursts[i], granted - v_granted[i]);
      v_left[i] := v_left[i] + v_granted[i] - granted;
    end if;
    left_over := least(left_over, v_left[i]);
  end loop;
end $$;

-- Idempotency: which requests with an Idempotency-Key were done, and what they were answered.

create table telemetry.idempotency (
  -- Of principal and key: neither the key of the client nor what it sent can be read here.
  key_hash bytea primary key,
  -- With the client's key, so that nobody can guess at passwords and the like with it.
  request_hash bytea not null,
  -- Who works on it; a later attempt takes over from one that has left it `running` too long.
  attempt uuid not null,
  -- `changed` is written with the change itself: from then on nobody does it again, whatever becomes of the answer.
  state text not null default 'running' check (state in ('running', 'changed', 'answered')),
  running_until timestamptz not null,
  -- Null where the answer held a secret: then `answer` says only what was made.
  status int4,
  answer bytea,
  created_at timestamptz not null default clock_timestamp()
);
-- Read by housekeeping.expire_idempotency.
create index idempotency_created on telemetry.idempotency (created_at);

-- Rules and watches judge what is committed after they were made, or changed in what they decide: not the little that
-- the evaluator had not judged yet at that moment.

-- The newest position there is, and no later one until the transaction ends: what has a lower number is committed.
create function telemetry.journal_mark() returns bigint
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(8218, 1);
  return (select case when s.is_called then s.last_value else 0 end from telemetry.journal_seq s);
end $$;

-- From which networks keys are used, so that the first use from a new one is told.

create table telemetry.key_network (
  key_id text not null references telemetry.api_key,
  -- The /24 or /48 in CIDR notation, or `local`.
  network text not null,
  first_used_at timestamptz not null,
  last_used_at timestamptz not null,
  -- Read by key_networks.networks_of_key and its neighbours.
  primary key (key_id, network)
);

-- After a rotation: who still comes with the former secret.

create table telemetry.former_caller (
  key_id text not null references telemetry.api_key,
  -- Whose end of the overlap it is: of an earlier rotation nobody is told.
  former_valid_until timestamptz not null,
  address text not null,
  -- What it calls itself, as far as that may be shown; empty when it says nothing.
  agent text not null,
  last_used_at timestamptz not null,
  -- Read by former_callers.of_key and its neighbours.
  primary key (key_id, former_valid_until, address, agent)
);

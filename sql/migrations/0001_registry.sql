-- Who sends what: devices, series, metric definitions, and the row that identifies this installation.

create schema if not exists telemetry;

create table telemetry.installation (
  singleton boolean primary key default true check (singleton),
  -- Changes when the numbering of the journal could have gone back (restore, fail-over); first half of every cursor.
  epoch text not null default substr(md5(gen_random_uuid()::text), 1, 8),
  -- Grows with every change that makes a cached series or definition wrong; journal_append refuses stale writers.
  catalog_version bigint not null default 1,
  created_at timestamptz not null default clock_timestamp()
);
insert into telemetry.installation default values;

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

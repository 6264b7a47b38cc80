-- catalog_state --
-- The version of the catalogue and the epoch of the journal.
select i.catalog_version, i.epoch from telemetry.installation i;

-- all_series --
-- Every series of the native API, oldest first.
select s.series_id, s.device_id, s.metric_name, s.kind
  from telemetry.series s where s.labels = '{}' order by s.series_id;

-- series_after --
-- Series registered after this id.
select s.series_id, s.device_id, s.metric_name, s.kind
  from telemetry.series s where s.labels = '{}' and s.series_id > $1::int4 order by s.series_id;

-- definitions --
-- What ingest checks of each definition.
select d.name, d.data_type, d.metric_type, d.min_value, d.max_value, d.allowed_values, d.unit
  from telemetry.metric_definition d;

-- retentions --
-- The retention of each metric that has one of its own.
select r.metric_name, r.retention_days from telemetry.metric_retention r;

-- register_devices --
-- Make these devices known; known ones stay as they are.
insert into telemetry.device (device_id)
select distinct d.device_id from unnest($1::text[]) as d (device_id) order by 1
on conflict (device_id) do nothing;

-- hold_devices --
-- How many of these devices there are, kept from being deleted until the transaction ends.
select count(*)
  from (select 1 from telemetry.device d where d.device_id = any ($1::text[])
         order by d.device_id for key share) held;

-- register_series --
-- Make these series known; known ones stay as they are.
insert into telemetry.series (device_id, metric_name, kind)
select w.device_id, w.metric_name, w.kind
  from unnest($1::text[], $2::text[], $3::int2[]) as w (device_id, metric_name, kind)
 order by w.device_id, w.metric_name
on conflict (device_id, metric_name, labels) do nothing;

-- find_series --
-- The series of these devices and metrics.
select s.series_id, s.device_id, s.metric_name, s.kind
  from telemetry.series s
  join unnest($1::text[], $2::text[]) as w (device_id, metric_name) using (device_id, metric_name)
 where s.labels = '{}';

-- latest_rows --
-- The stored newest point of every series.
select l.series_id, l.time_us, l.seq, l.number, l.object::text as object, l.context::text as context,
       l.changed_at_us, l.previous::text as previous
  from telemetry.latest l;

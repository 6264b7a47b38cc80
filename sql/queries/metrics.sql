-- insert_metric --
-- Store a definition; no row when the name is taken.
insert into telemetry.metric_definition
  (metric_id, name, description, data_type, metric_type, unit, min_value, max_value, allowed_values,
   retention_days, aggregation_interval, tags, metadata, created_by)
values ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::float8, $8::float8, $9::jsonb,
        $10::int4, $11::int4, $12::jsonb, $13::jsonb, $14::text)
on conflict (name) do nothing
returning created_at, updated_at;

-- update_metric --
-- Change everything of a definition that may change.
update telemetry.metric_definition d
   set description = $2::text, data_type = $3::text, metric_type = $4::text, unit = $5::text,
       min_value = $6::float8, max_value = $7::float8, allowed_values = $8::jsonb, retention_days = $9::int4,
       aggregation_interval = $10::int4, tags = $11::jsonb, metadata = $12::jsonb,
       updated_at = clock_timestamp()
 where d.name = $1::text
returning d.created_at, d.updated_at;

-- find_metric --
-- One definition.
select d.metric_id, d.name, d.description, d.data_type, d.metric_type, d.unit, d.min_value, d.max_value,
       d.allowed_values, d.retention_days, d.aggregation_interval, d.tags, d.metadata,
       d.created_at, d.updated_at, d.created_by
  from telemetry.metric_definition d
 where d.name = $1::text;

-- lock_metric --
-- One definition, held until the transaction ends.
select d.metric_id, d.name, d.description, d.data_type, d.metric_type, d.unit, d.min_value, d.max_value,
       d.allowed_values, d.retention_days, d.aggregation_interval, d.tags, d.metadata,
       d.created_at, d.updated_at, d.created_by
  from telemetry.metric_definition d
 where d.name = $1::text
   for update;

-- list_metrics --
-- A page of the definitions that fit the filters, by name, and how many fit.
select d.metric_id, d.name, d.description, d.data_type, d.metric_type, d.unit, d.min_value, d.max_value,
       d.allowed_values, d.retention_days, d.aggregation_interval, d.tags, d.metadata,
       d.created_at, d.updated_at, d.created_by, count(*) over () as total
  from telemetry.metric_definition d
 where ($1::text is null or d.data_type = $1::text)
   and ($2::text is null or d.metric_type = $2::text)
   and ($3::text is null or d.name ilike $3::text or d.description ilike $3::text)
   and ($4::text[] is null or d.name like any ($4::text[]))
 order by d.name
 limit $5::int4 offset $6::int4;

-- count_metrics --
-- How many definitions fit the filters.
select count(*)
  from telemetry.metric_definition d
 where ($1::text is null or d.data_type = $1::text)
   and ($2::text is null or d.metric_type = $2::text)
   and ($3::text is null or d.name ilike $3::text or d.description ilike $3::text)
   and ($4::text[] is null or d.name like any ($4::text[]));

-- delete_metric --
-- Remove a definition; points and their retention stay.
delete from telemetry.metric_definition d where d.name = $1::text returning d.retention_days;

-- metric_has_data --
-- Whether any device has ever sent this metric.
select exists (select 1 from telemetry.series s where s.metric_name = $1::text);

-- find_retention --
-- How long points of a metric are kept, if that was ever said.
select r.retention_days from telemetry.metric_retention r where r.metric_name = $1::text;

-- set_retention --
-- Keep points of a metric for so many days.
insert into telemetry.metric_retention (metric_name, retention_days) values ($1::text, $2::int4)
on conflict (metric_name) do update
   set retention_days = excluded.retention_days, updated_at = clock_timestamp()
 where telemetry.metric_retention.retention_days <> excluded.retention_days;

-- catalog_changed --
-- Make every daemon read the catalogue anew before it stores another point.
select telemetry.catalog_changed();

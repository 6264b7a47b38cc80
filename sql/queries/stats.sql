-- compacted_to --
-- Up to which position of the journal points are in chunks and rollups.
select c.position from telemetry.consumer c where c.name = 'compactor';

-- series_volumes --
-- Points and stored bytes of these series in chunks.
select c.series_id, sum(c.points)::int8 as points,
       sum(96 + coalesce(pg_column_size(c.ticks), 0) + coalesce(pg_column_size(c.steps), 0) + coalesce(pg_column_size(c.carries), 0)
           + coalesce(pg_column_size(c.numbers), 0) + coalesce(pg_column_size(c.objects), 0)
           + coalesce(pg_column_size(c.context_of), 0) + coalesce(pg_column_size(c.contexts), 0))::int8 as bytes
  from telemetry.chunk c
 where c.series_id = any ($1::int4[])
 group by c.series_id;

-- series_points_since --
-- Points of these series from an hour on.
select coalesce(sum(r.points), 0)::int8 as points
  from telemetry.rollup r
 where r.series_id = any ($1::int4[]) and r.hour >= $2::int4;

-- total_points --
-- All points in chunks.
select coalesce(sum(c.points), 0)::int8 as points from telemetry.chunk c;

-- points_by_hour --
-- Points of each hour from an hour on.
select r.hour, sum(r.points)::int8 as points
  from telemetry.rollup r
 where r.hour >= $1::int4
 group by r.hour
 order by r.hour;

-- devices_by_type --
-- How many devices there are of each type.
select coalesce(d.device_type, 'unknown') as type, count(*) as devices
  from telemetry.device d
 group by 1
 order by 1;

-- alerts_since --
-- Alerts that fired from an instant on, but for shadows: of all devices, or of these metrics of one.
select count(*) as alerts
  from telemetry.alert a
 where a.triggered_at >= $1::timestamptz and not a.is_shadow
   and ($2::text is null or a.device_id = $2::text)
   and ($3::text[] is null or a.metric_name = any ($3::text[]));

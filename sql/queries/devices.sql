-- list_devices --
-- A page of the devices that fit the filters, by id, and how many fit.
select d.device_id, d.name, d.device_type, d.tags, d.attributes, d.location, d.expected_interval_s,
       d.created_at, d.updated_at, count(*) over () as total
  from telemetry.device d
 where ($1::text is null or d.device_type = $1::text)
   and ($2::jsonb is null or d.tags @> $2::jsonb)
   and (($3::text[] is null and $8::text[] is null)
        or d.device_id like any ($3::text[]) or d.device_id = any ($8::text[]))
   and ($7::text[] is null or d.device_id = any ($7::text[]))
   and ($4::float8[] is null
        or ((d.location ->> 'lat')::float8 between ($4::float8[])[2] and ($4::float8[])[4]
            and case when ($4::float8[])[1] <= ($4::float8[])[3]
                     then (d.location ->> 'lon')::float8 between ($4::float8[])[1] and ($4::float8[])[3]
                     else (d.location ->> 'lon')::float8 >= ($4::float8[])[1]
                       or (d.location ->> 'lon')::float8 <= ($4::float8[])[3] end))
   and ($5::text[] is null or (d.device_id = any ($5::text[])) = $6::boolean)
 order by d.device_id
 limit $9::int4 offset $10::int4;

-- find_device --
-- One device.
select d.device_id, d.name, d.device_type, d.tags, d.attributes, d.location, d.expected_interval_s,
       d.created_at, d.updated_at
  from telemetry.device d
 where d.device_id = $1::text;

-- lock_device --
-- One device, held until the transaction ends, so that no series is registered for it meanwhile.
select d.device_id, d.name, d.device_type, d.tags, d.attributes, d.location, d.expected_interval_s,
       d.created_at, d.updated_at
  from telemetry.device d
 where d.device_id = $1::text
   for update;

-- update_device --
-- Change everything of a device that may change.
update telemetry.device d
   set name = $2::text, device_type = $3::text, tags = $4::jsonb, attributes = $5::jsonb,
       location = $6::jsonb, expected_interval_s = $7::float8, updated_at = clock_timestamp()
 where d.device_id = $1::text
returning d.updated_at;

-- wait_longer --
-- Deleting may have to wait for a turn of the compactor, which holds the series it writes.
set local lock_timeout = '20s';

-- delete_series --
-- Remove the series of a device and say which they were.
delete from telemetry.series s where s.device_id = $1::text returning s.series_id;

-- delete_chunks --
-- Remove the history of these series.
delete from telemetry.chunk c where c.series_id = any ($1::int4[]);

-- delete_rollups --
-- Remove the hourly figures of these series.
delete from telemetry.rollup r where r.series_id = any ($1::int4[]);

-- delete_latest --
-- Remove the newest points of these series.
delete from telemetry.latest l where l.series_id = any ($1::int4[]);

-- groups_changed --
-- Say that the groups of a device change; nothing when it is in none.
with changed as (
  update telemetry.group_version v set version = v.version + 1
   where exists (select 1 from telemetry.group_member m where m.device_id = $1::text)
  returning v.version)
update telemetry.device_group g set version = c.version
  from changed c
 where g.group_id in (select m.group_id from telemetry.group_member m where m.device_id = $1::text);

-- leave_groups --
-- Take a device out of its groups.
delete from telemetry.group_member m where m.device_id = $1::text;

-- delete_device --
-- Remove a device.
delete from telemetry.device d where d.device_id = $1::text;

-- catalog_changed --
-- Make every daemon read the catalogue anew before it stores another point.
select telemetry.catalog_changed();

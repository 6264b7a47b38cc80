-- points_by_day --
-- Points in chunks of $1 on each day since 1970 UTC; $2 is the midnight before the range, $3 its end.
select array_send(array_agg(v.day)) as days, array_send(array_agg(v.points)) as points
  from (select (c.start_us / 86400000000)::int4 as day, sum(c.points)::int8 as points
          from telemetry.chunk c
         where c.series_id = any ($1::int4[]) and c.start_us >= $2::int8 and c.start_us < $3::int8
         group by 1 order by 1) v;

-- points_by_series --
-- Points in chunks of each series of $1; $2 is the midnight before the range, $3 its end.
select array_send(array_agg(v.series_id)) as series_ids, array_send(array_agg(v.points)) as points
  from (select c.series_id, sum(c.points)::int8 as points
          from telemetry.chunk c
         where c.series_id = any ($1::int4[]) and c.start_us >= $2::int8 and c.start_us < $3::int8
         group by 1 order by 1) v;

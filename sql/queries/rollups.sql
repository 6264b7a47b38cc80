-- read_rollups --
-- The hours of $1 in [$2, $3) as one array per column, by series and hour; NaN where an hour has no number.
select array_send(array_agg(r.series_id)) as series_ids, array_send(array_agg(r.hour)) as hours,
       array_send(array_agg(r.points)) as points, array_send(array_agg(r.numbers)) as numbers,
       array_send(array_agg(coalesce(r.sum, 'NaN'))) as sums, array_send(array_agg(coalesce(r.min, 'NaN'))) as mins,
       array_send(array_agg(coalesce(r.max, 'NaN'))) as maxs, array_send(array_agg(coalesce(r.first, 'NaN'))) as firsts,
       array_send(array_agg(coalesce(r.last, 'NaN'))) as lasts
  from (select x.series_id, x.hour, x.points, x.numbers, x.sum, x.min, x.max, x.first, x.last
          from telemetry.rollup x
         where x.series_id = any ($1::int4[]) and x.hour >= $2::int4 and x.hour < $3::int4
         order by x.series_id, x.hour) r;

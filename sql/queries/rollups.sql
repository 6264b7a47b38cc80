-- read_rollups --
-- The hours of $1 in [$2, $3) as packed big-endian rows, in any order; NaN where an hour has no number.
select string_agg(int4send(x.series_id) || int4send(x.hour) || int4send(x.points) || int4send(x.numbers)
                  || float8send(coalesce(x.sum, 'NaN')) || float8send(coalesce(x.min, 'NaN'))
                  || float8send(coalesce(x.max, 'NaN')) || float8send(coalesce(x.first, 'NaN'))
                  || float8send(coalesce(x.last, 'NaN')), '') as packed
  from telemetry.rollup x
 where x.series_id = any ($1::int4[]) and x.hour >= $2::int4 and x.hour < $3::int4;

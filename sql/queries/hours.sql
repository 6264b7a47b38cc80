-- read_hours --
-- Rollup hours of $1 in [$2, $3) as packed big-endian rows, in any order: series and hour as one number, a count (of all points when $4 is count, else of numbers), and the value $4 names.
select string_agg(int8send((r.series_id::int8 << 24) | r.hour)
                  || int4send(case when $4::text = 'count' then r.points else r.numbers end)
                  || float8send(coalesce(case $4::text when 'sum' then r.sum when 'min' then r.min when 'max' then r.max
                                                       when 'first' then r.first when 'last' then r.last end, 'NaN')),
                  '') as packed
  from telemetry.rollup r
 where r.series_id = any ($1::int4[]) and r.hour >= $2::int4 and r.hour < $3::int4;

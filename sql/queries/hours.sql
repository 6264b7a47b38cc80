-- read_hours --
-- Rollup hours of $1 in [$2, $3) as packed big-endian rows, in any order: series and hour as one number, a count (of all points when $4 is 0, else of numbers), and the value that $4 stands for.
select string_agg(int8send((r.series_id::int8 << 24) | r.hour)
                  || int4send(case when $4::int4 = 0 then r.points else r.numbers end)
                  || float8send(coalesce(case $4::int4 when 1 then r.sum when 2 then r.min when 3 then r.max
                                                       when 4 then r.first when 5 then r.last end, 'NaN')),
                  '') as packed
  from telemetry.rollup r
 where r.series_id = any ($1::int4[]) and r.hour >= $2::int4 and r.hour < $3::int4;

-- read_chunks --
-- The chunks of $1 that hold points in [$2, $3); $4 is the midnight at or before $2, which no earlier chunk crosses.
select c.series_id, c.start_us, c.end_us, c.points, c.tick_us, array_send(c.ticks) as ticks, c.scale, c.base,
       array_send(c.steps) as steps, array_send(c.carries) as carries, array_send(c.numbers) as numbers, c.objects,
       array_send(c.context_of) as context_of, c.contexts
  from telemetry.chunk c
 where c.series_id = any ($1::int4[]) and c.start_us >= $4::int8 and c.start_us < $3::int8 and c.end_us >= $2::int8
 order by c.series_id, c.start_us;

-- page_chunks --
-- The next $6 chunks of $1 in [$2, $3), in order, that hold points of series $4 from $5 on or of a later series.
select c.series_id, c.start_us, c.end_us, c.points, c.tick_us, array_send(c.ticks) as ticks, c.scale, c.base,
       array_send(c.steps) as steps, array_send(c.carries) as carries, array_send(c.numbers) as numbers, c.objects,
       array_send(c.context_of) as context_of, c.contexts
  from telemetry.chunk c
 where c.series_id = any ($1::int4[]) and c.series_id >= $4::int4 and c.start_us < $3::int8 and c.end_us >= $2::int8
   and (c.series_id > $4::int4 or c.end_us >= $5::int8)
 order by c.series_id, c.start_us
 limit $6::int4;

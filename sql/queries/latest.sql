-- write_latest --
-- Put these newest points in place of what was there.
insert into telemetry.latest as l (series_id, time_us, seq, number, object, context, changed_at_us, previous)
select n.series_id, n.time_us, n.seq, n.number, n.object::json, n.context::json, n.changed_at_us, n.previous::json
  from unnest($1::int4[], $2::int8[], $3::int8[], $4::float8[], $5::text[], $6::text[], $7::int8[], $8::text[])
       as n (series_id, time_us, seq, number, object, context, changed_at_us, previous)
on conflict (series_id) do update
   set time_us = excluded.time_us, seq = excluded.seq, number = excluded.number, object = excluded.object,
       context = excluded.context, changed_at_us = excluded.changed_at_us, previous = excluded.previous;

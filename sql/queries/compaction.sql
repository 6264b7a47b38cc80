-- pending --
-- Points after position $1, when the oldest of them was appended, and the newest position.
select coalesce(sum(j.points), 0)::int8 as points, count(*)::int8 as blocks,
       extract(epoch from clock_timestamp() - min(j.appended_at))::float8 as age_s
  from telemetry.journal j
 where j.seq > $1::int8;

-- slice_sizes --
-- Sizes of the next $2 blocks after position $1.
select j.seq, j.points, octet_length(j.body) as bytes
  from telemetry.journal j
 where j.seq > $1::int8
 order by j.seq
 limit $2::int4;

-- slice_bodies --
-- The blocks after position $1 up to $2.
select j.seq, j.body
  from telemetry.journal j
 where j.seq > $1::int8 and j.seq <= $2::int8
 order by j.seq;

-- known_series --
-- Which of these series exist.
select s.series_id from telemetry.series s where s.series_id = any ($1::int4[]);

-- lock_series --
-- How many of these series exist, kept from being deleted until the transaction ends.
select count(*) from (select 1 from telemetry.series s where s.series_id = any ($1::int4[]) for key share) known;

-- spans --
-- The chunks of these series-days as one array per column: series $1, midnights $2; `runs` are indexes of the pairs.
select array_send(array_agg(x.run)) as runs, array_send(array_agg(x.start_us)) as starts_us,
       array_send(array_agg(x.end_us)) as ends_us, array_send(array_agg(x.points)) as points
  from (select d.place - 1 as run, c.start_us, c.end_us, c.points
          from unnest($1::int4[], $2::int8[]) with ordinality as d (series_id, midnight_us, place)
          join telemetry.chunk c on c.series_id = d.series_id and c.start_us >= d.midnight_us
           and c.start_us < d.midnight_us + 86400000000
         order by d.place, c.start_us) x;

-- read_chunks_at --
-- The chunks with these keys: series $1, starts $2.
select c.series_id, c.start_us, c.end_us, c.points, c.tick_us, array_send(c.ticks) as ticks, c.scale, c.base,
       array_send(c.steps) as steps, array_send(c.carries) as carries, array_send(c.numbers) as numbers, c.objects,
       array_send(c.context_of) as context_of, c.contexts
  from unnest($1::int4[], $2::int8[]) as k (series_id, start_us)
  join telemetry.chunk c on c.series_id = k.series_id and c.start_us = k.start_us
 order by c.series_id, c.start_us;

-- delete_chunks_at --
-- Remove the chunks with these keys: series $1, starts $2.
delete from telemetry.chunk c
 using unnest($1::int4[], $2::int8[]) as k (series_id, start_us)
 where c.series_id = k.series_id and c.start_us = k.start_us;

-- read_rollups_at --
-- The rollups of these hours as packed big-endian rows, in any order: series $1, hours $2.
select string_agg(int4send(x.series_id) || int4send(x.hour) || int4send(x.points) || int4send(x.numbers)
                  || float8send(coalesce(x.sum, 'NaN')) || float8send(coalesce(x.min, 'NaN'))
                  || float8send(coalesce(x.max, 'NaN')) || float8send(coalesce(x.first, 'NaN'))
                  || float8send(coalesce(x.last, 'NaN')), '') as packed
  from unnest($1::int4[], $2::int4[]) as k (series_id, hour)
  join telemetry.rollup x on x.series_id = k.series_id and x.hour = k.hour;

-- write_rollups --
-- Put these hours in place of what was there; NaN stands for no number.
insert into telemetry.rollup as r (series_id, hour, points, numbers, sum, min, max, first, last)
select n.series_id, n.hour, n.points, n.numbers, nullif(n.sum, 'NaN'), nullif(n.min, 'NaN'), nullif(n.max, 'NaN'),
       nullif(n.first, 'NaN'), nullif(n.last, 'NaN')
  from unnest($1::int4[], $2::int4[], $3::int4[], $4::int4[], $5::float8[], $6::float8[], $7::float8[], $8::float8[],
              $9::float8[]) as n (series_id, hour, points, numbers, sum, min, max, first, last)
on conflict (series_id, hour) do update
   set points = excluded.points, numbers = excluded.numbers, sum = excluded.sum, min = excluded.min,
       max = excluded.max, first = excluded.first, last = excluded.last;

-- mergeable --
-- Series-days in more than one chunk of less than $1 points, with these chunks and points.
select c.series_id, c.start_us / 86400000000 as day, count(*)::int8 as pieces, sum(c.points)::int8 as points
  from telemetry.chunk c
 where c.points < $1::int4
 group by 1, 2
having count(*) > 1;

-- vacuum_pieces --
-- Free the room of pieces that were merged; at the end of the file it goes back to the disk.
vacuum telemetry.chunk_piece;

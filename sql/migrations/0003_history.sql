-- History: chunks of points by series and span, hourly rollups, and the newest point of each series.

-- Times are start_us plus the running sum of `ticks` times tick_us. Values are, in this order of preference,
-- (base + running sum of steps) / scale, numbers, or objects (one JSON value per point).
create table telemetry.chunk (
  series_id int4 not null,
  start_us int8 not null,
  end_us int8 not null,
  points int4 not null,
  tick_us int8 not null,
  ticks int4[] not null,
  scale int4,
  base int8,
  steps int2[],
  numbers float8[],
  objects jsonb,
  context_of int2[],
  contexts jsonb,
  primary key (series_id, start_us)
);
-- Read by retention: chunks that end before a cut.
create index chunk_end on telemetry.chunk using brin (end_us);

-- Hours are whole hours since 1970 UTC. `points` counts all points, the rest covers numeric and boolean values only.
create table telemetry.rollup (
  series_id int4 not null,
  hour int4 not null,
  points int4 not null,
  numbers int4 not null,
  sum float8,
  min float8,
  max float8,
  first float8,
  last float8,
  primary key (series_id, hour)
);

create table telemetry.latest (
  series_id int4 primary key,
  time_us int8 not null,
  seq int8 not null,
  number float8,
  object jsonb,
  context jsonb,
  changed_at_us int8 not null,
  previous jsonb
) with (fillfactor = 70);

-- Microseconds since 1970 to a timestamp, exactly (to_timestamp would go through a double).
create function telemetry.from_us(us int8) returns timestamptz
language sql immutable parallel safe as $$
  select timestamptz '1970-01-01 00:00:00+00' + make_interval(secs => (us / 1000000)::float8)
         + (us % 1000000) * interval '1 microsecond'
$$;

create function telemetry.to_us(at timestamptz) returns int8
language sql immutable parallel safe as $$
  select (extract(epoch from at) * 1000000)::int8
$$;

-- The points of one chunk, in time order.
create function telemetry.chunk_points(c telemetry.chunk)
returns table (time_us int8, number float8, object jsonb, context jsonb)
language sql immutable parallel safe as $$
  select c.start_us + c.tick_us * sum(t.tick::int8) over (order by t.i),
         case when c.scale is not null
              then (c.base + sum(c.steps[t.i]::int8) over (order by t.i))::float8 / c.scale
              else c.numbers[t.i] end,
         c.objects -> (t.i::int4 - 1),
         c.contexts -> (c.context_of[t.i]::int4)
    from unnest(c.ticks) with ordinality as t (tick, i)
$$;

create view telemetry.point as
select telemetry.from_us(p.time_us) as "time", s.device_id, s.metric_name, s.labels,
       case when s.kind <> 3 then p.number end as number,
       coalesce(p.object, case when s.kind = 3 then to_jsonb(p.number <> 0) else to_jsonb(p.number) end) as value,
       p.context ->> 'unit' as unit, p.context -> 'tags' as tags, p.context -> 'metadata' as metadata
  from telemetry.chunk c
  join telemetry.series s using (series_id)
 cross join lateral telemetry.chunk_points(c) p;

-- History of one metric of one device in [p_from, p_to), in time order, read from the chunks that touch the range only.
create function telemetry.points(p_device text, p_metric text, p_from timestamptz, p_to timestamptz)
returns table ("time" timestamptz, number float8, value jsonb, unit text, tags jsonb)
language sql stable as $$
  select telemetry.from_us(p.time_us),
         case when s.kind <> 3 then p.number end,
         coalesce(p.object, case when s.kind = 3 then to_jsonb(p.number <> 0) else to_jsonb(p.number) end),
         p.context ->> 'unit', p.context -> 'tags'
    from telemetry.series s
    join telemetry.chunk c using (series_id)
   cross join lateral telemetry.chunk_points(c) p
   where s.device_id = p_device and s.metric_name = p_metric
     and c.start_us < telemetry.to_us(p_to) and c.end_us >= telemetry.to_us(p_from)
     and p.time_us >= telemetry.to_us(p_from) and p.time_us < telemetry.to_us(p_to)
   order by p.time_us
$$;

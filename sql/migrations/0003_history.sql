-- History: chunks of points by series and span, hourly rollups, and the newest point of each series.

-- A chunk never crosses midnight UTC, and the spans of a series do not overlap.
-- Times are start_us plus the running sum of `ticks` times tick_us (ticks null: each tick is 1).
-- Numbers are (base + running sum of (steps + 256 * carries)) / scale, else `numbers` (NaN where the value is an
-- object); carries null: all are 0. Two arrays, because PostgreSQL's compression finds repeats only: the carries repeat.
-- `objects` is one JSON array, null where the value is a number. `context_of` is the 1-based place in `contexts`, 0 for
-- none (null: every point has the only context). JSON is kept as text so that it comes back as it came.
create table telemetry.chunk (
  series_id int4 not null,
  start_us int8 not null,
  end_us int8 not null,
  points int4 not null,
  tick_us int8 not null,
  ticks int4[],
  scale int4,
  base int8,
  steps "char"[],
  carries int2[],
  numbers float8[],
  objects json,
  context_of int2[],
  contexts json,
  -- Whole days lie apart from the pieces of days that go on, so that the room of merged pieces can be given back.
  is_whole boolean not null default false,
  primary key (series_id, start_us, is_whole)
) partition by list (is_whole);
create table telemetry.chunk_piece partition of telemetry.chunk for values in (false);
create table telemetry.chunk_day partition of telemetry.chunk for values in (true);
-- Read by chunks.expire_chunks.
create index chunk_end on telemetry.chunk using brin (end_us) with (pages_per_range = 16);

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
  object json,
  context json,
  changed_at_us int8 not null,
  previous json
) with (fillfactor = 70);

-- Microseconds since 1970 to a timestamp, exactly (to_timestamp would go through a double).
create function telemetry.from_us(us int8) returns timestamptz
language sql immutable parallel safe as $$
  select timestamptz '1970-01-01 00:00:00+00' + (us / 1000000) * interval '1 second'
         + (us % 1000000) * interval '1 microsecond'
$$;

create function telemetry.to_us(at timestamptz) returns int8
language sql immutable parallel safe as $$
  select (extract(epoch from at) * 1000000)::int8
$$;

-- The points of one chunk, in time order. The arrays are unnested side by side, null where one has ended: a subscript
-- would decompress the array for each point, and a function in the FROM clause would store the rows first.
create function telemetry.chunk_points(c telemetry.chunk)
returns table (time_us int8, number float8, object json, context json)
language sql immutable parallel safe as $$
  select c.start_us + c.tick_us * coalesce(sum(p.tick) over w, p.place - 1),
         case when c.scale is not null then (c.base + sum(p.step::int4 + 256 * coalesce(p.carry, 0)) over w)::float8 / c.scale
              when p.object is null or json_typeof(p.object) = 'null' then p.number end,
         case when json_typeof(p.object) <> 'null' then p.object end,
         case when c.contexts is not null
              then c.contexts -> case when p.context is null then 0 when p.context > 0 then p.context - 1 end end
    from (select generate_series(1, c.points) as place, unnest(c.ticks) as tick, unnest(c.steps) as step,
                 unnest(c.carries) as carry, unnest(c.numbers) as number, json_array_elements(c.objects) as object,
                 unnest(c.context_of) as context) p
  window w as (rows unbounded preceding)
$$;

create view telemetry.point as
select telemetry.from_us(p.time_us) as time, s.device_id, s.metric_name, s.labels,
       case when s.kind <> 3 then p.number end as number,
       coalesce(p.object::jsonb, case when s.kind = 3 then to_jsonb(p.number <> 0) else to_jsonb(p.number) end) as value,
       p.context ->> 'unit' as unit, (p.context -> 'tags')::jsonb as tags, (p.context -> 'metadata')::jsonb as metadata
  from telemetry.chunk c
  join telemetry.series s using (series_id)
 cross join lateral telemetry.chunk_points(c) p;

-- History of one metric of one device in [p_from, p_to), in time order, read from the chunks that touch the range only.
create function telemetry.points(p_device text, p_metric text, p_from timestamptz, p_to timestamptz)
returns table ("time" timestamptz, number float8, value jsonb, unit text, tags jsonb)
language sql stable as $$
  select telemetry.from_us(p.time_us),
         case when s.kind <> 3 then p.number end,
         coalesce(p.object::jsonb, case when s.kind = 3 then to_jsonb(p.number <> 0) else to_jsonb(p.number) end),
         p.context ->> 'unit', (p.context -> 'tags')::jsonb
    from telemetry.series s
    join telemetry.chunk c using (series_id)
   cross join lateral telemetry.chunk_points(c) p
   where s.device_id = p_device and s.metric_name = p_metric
     -- No chunk crosses midnight, so none that begins a day before p_from reaches it.
     and c.start_us > telemetry.to_us(p_from) - 86400000000 and c.start_us < telemetry.to_us(p_to)
     and c.end_us >= telemetry.to_us(p_from)
     and p.time_us >= telemetry.to_us(p_from) and p.time_us < telemetry.to_us(p_to)
   order by p.time_us
$$;

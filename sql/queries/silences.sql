-- list_silences --
-- A page of the silences, those that end last first; those that are over only when asked for.
select s.silence_id, s.matchers, s.starts_at, s.ends_at, s.comment, s.created_at, s.updated_at, s.created_by,
       count(*) over () as total
  from telemetry.silence s
 where ($1::boolean or s.ends_at > clock_timestamp())
 order by s.ends_at desc, s.silence_id desc
 limit $2::int4 offset $3::int4;

-- active --
-- The silences that hold at $1, or now, those that end last first.
select s.silence_id, s.matchers, s.starts_at, s.ends_at, s.comment, s.created_at, s.updated_at, s.created_by
  from telemetry.silence s
 where s.starts_at <= coalesce($1::timestamptz, clock_timestamp())
   and s.ends_at > coalesce($1::timestamptz, clock_timestamp())
 order by s.ends_at desc, s.silence_id
 limit 1000;

-- count_live --
-- How many silences are not over.
select count(*) from telemetry.silence s where s.ends_at > clock_timestamp();

-- find_silence --
-- One silence.
select s.silence_id, s.matchers, s.starts_at, s.ends_at, s.comment, s.created_at, s.updated_at, s.created_by
  from telemetry.silence s
 where s.silence_id = $1::text;

-- insert_silence --
-- Store a silence.
insert into telemetry.silence (silence_id, matchers, starts_at, ends_at, comment, created_by)
values ($1::text, $2::jsonb, $3::timestamptz, $4::timestamptz, $5::text, $6::text)
returning created_at, updated_at;

-- update_silence --
-- Change a silence that is not over.
update telemetry.silence s
   set matchers = $2::jsonb, starts_at = $3::timestamptz, ends_at = $4::timestamptz, comment = $5::text,
       updated_at = clock_timestamp()
 where s.silence_id = $1::text and s.ends_at > clock_timestamp()
returning s.updated_at;

-- expire_silence --
-- End a silence now; no row when it is over.
update telemetry.silence s
   set ends_at = greatest(s.starts_at, clock_timestamp()), updated_at = clock_timestamp()
 where s.silence_id = $1::text and s.ends_at > clock_timestamp()
returning s.ends_at;

-- release --
-- What a silence that was changed or ended kept back is looked at again.
update telemetry.notification n
   set next_attempt_at = clock_timestamp()
 where n.status = 'deferred' and n.digest_id is null and n.verdict = 'silenced'
   and n.verdict_data ->> 'silence_id' = $1::text;

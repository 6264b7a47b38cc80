-- insert --
-- Queue a job.
insert into telemetry.job (job_id, type, params, device_id, metric_name, created_by)
values ($1::text, $2::text, $3::jsonb, $4::text, $5::text, $6::text);

-- find --
-- One job.
select j.job_id, j.type, j.state, j.params, j.progress, j.progress_text, j.result, j.error, j.device_id, j.metric_name,
       j.created_at, j.started_at, j.finished_at, j.created_by
  from telemetry.job j
 where j.job_id = $1::text;

-- latest --
-- The newest finished job of a type, about a device when one is given, made by $3 when that is.
select j.job_id, j.type, j.state, j.params, j.progress, j.progress_text, j.result, j.error, j.device_id, j.metric_name,
       j.created_at, j.started_at, j.finished_at, j.created_by
  from telemetry.job j
 where j.type = $1::text and j.state = 'done' and ($2::text is null or j.device_id = $2::text)
   and ($3::text is null or j.created_by = $3::text)
 order by j.created_at desc, j.job_id desc
 limit 1;

-- page --
-- A page of the jobs that fit the filters, newest first.
select j.job_id, j.type, j.state, j.params, j.progress, j.progress_text, null::jsonb as result, j.error, j.device_id,
       j.metric_name, j.created_at, j.started_at, j.finished_at, j.created_by
  from telemetry.job j
 where ($1::text is null or j.type = $1::text) and ($2::text is null or j.state = $2::text)
   and ($3::text is null or j.created_by = $3::text)
 order by j.created_at desc, j.job_id desc
 limit $4::int4 offset $5::int4;

-- count_jobs --
-- How many jobs fit the filters.
select count(*)
  from telemetry.job j
 where ($1::text is null or j.type = $1::text) and ($2::text is null or j.state = $2::text)
   and ($3::text is null or j.created_by = $3::text);

-- waiting --
-- How many jobs are queued or running.
select count(*) from telemetry.job j where j.state in ('queued', 'running');

-- claim --
-- Take the oldest job that waits, or whose process died, for $2 seconds.
update telemetry.job j
   set state = 'running', holder = $1::uuid, held_until = clock_timestamp() + make_interval(secs => $2::float8),
       attempts = j.attempts + 1, started_at = coalesce(j.started_at, clock_timestamp())
 where j.job_id = (
         select w.job_id from telemetry.job w
          where w.state = 'queued' or (w.state = 'running' and w.held_until < clock_timestamp())
          order by w.created_at
          limit 1
            for update skip locked)
returning j.job_id, j.type, j.params, j.attempts;

-- advance --
-- Say how far a job is, and hold it for $5 seconds more; no row when it is not ours any more.
update telemetry.job j
   set progress = $3::float8, progress_text = $4::text,
       held_until = clock_timestamp() + make_interval(secs => $5::float8)
 where j.job_id = $1::text and j.holder = $2::uuid and j.state = 'running'
returning j.job_id;

-- finish --
-- End a job with its result or its error.
update telemetry.job j
   set state = $3::text, result = $4::jsonb, error = $5::jsonb, finished_at = clock_timestamp(), held_until = null,
       progress = case when $3::text = 'done' then 1 else j.progress end
 where j.job_id = $1::text and j.holder = $2::uuid and j.state = 'running'
returning j.job_id;

-- cancel --
-- End a job that waits or runs.
update telemetry.job j
   set state = 'failed', error = $2::jsonb, finished_at = clock_timestamp(), holder = null, held_until = null
 where j.job_id = $1::text and j.state in ('queued', 'running')
returning j.job_id;

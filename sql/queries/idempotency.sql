-- reserve --
-- Begin a request that may run for $4 seconds; no row when its key is known.
insert into telemetry.idempotency (key_hash, request_hash, attempt, running_until)
values ($1::bytea, $2::bytea, $3::uuid, clock_timestamp() + make_interval(secs => $4::float8))
on conflict (key_hash) do nothing
returning attempt;

-- take_over --
-- Begin a request anew whose attempt never said anything again; no row when it has.
update telemetry.idempotency i
   set attempt = $3::uuid, running_until = clock_timestamp() + make_interval(secs => $4::float8)
 where i.key_hash = $1::bytea and i.request_hash = $2::bytea and i.state = 'running'
   and i.running_until < clock_timestamp()
returning i.attempt;

-- find --
-- What is known of a key; one that has just changed something is still answered.
select i.request_hash,
       case when i.state = 'changed' and i.running_until > clock_timestamp() then 'running' else i.state end as state,
       i.status, i.answer
  from telemetry.idempotency i where i.key_hash = $1::bytea;

-- mark_changed --
-- Say, with the change itself, that it is made, and answered in $3 seconds; no row when another attempt has taken over.
update telemetry.idempotency i
   set state = 'changed', running_until = clock_timestamp() + make_interval(secs => $3::float8)
 where i.key_hash = $1::bytea and i.attempt = $2::uuid
returning i.attempt;

-- keep_answer --
-- Say what the request was answered.
update telemetry.idempotency i set state = 'answered', status = $3::int4, answer = $4::bytea
 where i.key_hash = $1::bytea and i.attempt = $2::uuid;

-- release --
-- Forget a request that came to nothing: one that failed unless it may have changed something, a refused one ($3) always.
delete from telemetry.idempotency i
 where i.key_hash = $1::bytea and i.attempt = $2::uuid and ($3::boolean or i.state = 'running');

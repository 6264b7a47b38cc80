-- Idempotency: which requests with an Idempotency-Key were done, and what they were answered.

create table telemetry.idempotency (
  -- Of principal and key: neither the key of the client nor what it sent can be read here.
  key_hash bytea primary key,
  -- With the client's key, so that nobody can guess at passwords and the like with it.
  request_hash bytea not null,
  -- Who works on it; a later attempt takes over from one that has left it `running` too long.
  attempt uuid not null,
  -- `changed` is written with the change itself: from then on nobody does it again, whatever becomes of the answer.
  state text not null default 'running' check (state in ('running', 'changed', 'answered')),
  running_until timestamptz not null,
  -- Null where the answer held a secret: then `answer` says only what was made.
  status int4,
  answer bytea,
  created_at timestamptz not null default clock_timestamp()
);
-- Read by housekeeping.expire_idempotency.
create index idempotency_created on telemetry.idempotency (created_at);

-- After a rotation: who still comes with the former secret, all of them and by name, not only the last one.

create table telemetry.former_caller (
  key_id text not null references telemetry.api_key,
  -- Whose end of the overlap it is: of an earlier rotation nobody is told.
  former_valid_until timestamptz not null,
  address text not null,
  -- What it calls itself, as far as that may be shown; empty when it says nothing.
  agent text not null,
  last_used_at timestamptz not null,
  -- Read by former_callers.of_key and its neighbours.
  primary key (key_id, former_valid_until, address, agent)
);

alter table telemetry.api_key drop column former_used_at;
alter table telemetry.api_key drop column former_used_from;

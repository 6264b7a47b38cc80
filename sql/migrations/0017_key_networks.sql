-- From which networks keys are used, so that the first use from a new one is told; and when an account was last changed,
-- so that nobody's edit of one is overwritten unseen.

create table telemetry.key_network (
  key_id text not null references telemetry.api_key,
  -- The /24 or /48 in CIDR notation, or `local`.
  network text not null,
  first_used_at timestamptz not null,
  last_used_at timestamptz not null,
  -- Read by key_networks.networks_of_key and its neighbours.
  primary key (key_id, network)
);

alter table telemetry.account add column updated_at timestamptz not null default clock_timestamp();
update telemetry.account a set updated_at = a.created_at;

-- Streams: subscriptions that a socket finds by their id, and tickets that open one socket each.

-- `wanted` is what the client asked for. Nobody but the key that made it finds it.
create table telemetry.subscription (
  subscription_id text primary key,
  key_id text not null,
  wanted jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  -- Without a socket it ends here; the process that holds one moves this on.
  expires_at timestamptz not null
);
-- Read by subscriptions.insert_subscription, which counts those of a key.
create index subscription_key on telemetry.subscription (key_id, expires_at);
-- Read by housekeeping's expire_subscriptions.
create index subscription_expires on telemetry.subscription (expires_at);

-- Only the hash of a ticket is stored; the row goes when it is used.
create table telemetry.ticket (
  ticket_hash bytea primary key,
  key_id text not null,
  -- What the ticket opens; both null: any stream.
  subscription_id text,
  channel text,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null
);
-- Read by housekeeping's expire_tickets.
create index ticket_expires on telemetry.ticket (expires_at);

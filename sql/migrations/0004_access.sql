-- Access: API keys; only hashes of their secrets are stored.

create table telemetry.api_key (
  key_id text primary key,
  name text not null,
  env text not null default 'live',
  secret_hash bytea not null,
  -- After a rotation the former secret stays valid until its overlap ends.
  former_hash bytea,
  former_valid_until timestamptz,
  scopes text[] not null,
  tier text not null default 'free',
  devices text[],
  groups text[],
  metrics text[],
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  last_used_from text
);

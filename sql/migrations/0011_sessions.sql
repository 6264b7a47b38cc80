-- Sessions: accounts of people, and what a login gives: a session with refresh tokens that follow one another.

-- `account_id` is who did something; the name may be given again after the account is gone.
create table telemetry.account (
  account_id text primary key,
  username text not null,
  -- argon2id, with its parameters and salt.
  password_hash text not null,
  scopes text[] not null,
  tier text not null default 'free',
  devices text[],
  groups text[],
  metrics text[],
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  disabled_at timestamptz,
  last_login_at timestamptz
);
-- Read by accounts.account_by_name; `Ann` and `ann` are one name.
create unique index account_name on telemetry.account (lower(username));

-- A login: of a key with the secret it was shown by, or of an account.
create table telemetry.session (
  session_id text primary key,
  key_id text,
  key_hash bytea,
  account_id text,
  created_at timestamptz not null default clock_timestamp(),
  created_from text not null,
  expires_at timestamptz not null,
  revoked_at timestamptz,
  -- One of `logout`, `reused`, `password`, `disabled`.
  revoked_because text,
  check ((key_id is null) <> (account_id is null)),
  check ((key_id is null) = (key_hash is null))
);
-- Read by sessions.end_sessions_of, which ends those of an account.
create index session_account on telemetry.session (account_id) where account_id is not null;
-- Read by housekeeping's expire_sessions.
create index session_expires on telemetry.session (expires_at);

-- Only hashes. Each token is used once; its successor is made from it and `salt`, so that those that come with one
-- token at the same time get the same next one, which is stored nowhere.
create table telemetry.refresh_token (
  token_hash bytea primary key,
  session_id text not null references telemetry.session on delete cascade,
  created_at timestamptz not null default clock_timestamp(),
  used_at timestamptz,
  salt bytea
);
-- Read where a session is deleted with its tokens.
create index refresh_token_session on telemetry.refresh_token (session_id);

-- A ticket of a session ends with it.
alter table telemetry.ticket add column session_id text;

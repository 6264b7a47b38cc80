-- insert_session --
-- Store a session of a key or of an account.
insert into telemetry.session (session_id, key_id, key_hash, account_id, created_from, expires_at)
values ($1::text, $2::text, $3::bytea, $4::text, $5::text, $6::timestamptz);

-- sessions_by_id --
-- Those of these sessions that were not revoked.
select s.session_id, s.key_id, s.key_hash, s.account_id, s.expires_at
  from telemetry.session s
 where s.session_id = any ($1::text[]) and s.revoked_at is null;

-- insert_token --
-- Store the hash of a refresh token; nothing when it is stored already.
insert into telemetry.refresh_token (token_hash, session_id)
values ($1::bytea, $2::text)
on conflict (token_hash) do nothing;

-- lock_token --
-- A refresh token with its session, held until the transaction ends.
select t.session_id, t.used_at, t.salt, s.key_id, s.key_hash, s.account_id, s.expires_at,
       s.revoked_at is not null as is_revoked
  from telemetry.refresh_token t
  join telemetry.session s using (session_id)
 where t.token_hash = $1::bytea
   for update of t;

-- use_token --
-- Say that a refresh token was used, and what its successor is made with.
update telemetry.refresh_token t
   set used_at = $2::timestamptz, salt = $3::bytea
 where t.token_hash = $1::bytea and t.used_at is null
returning t.session_id;

-- session_of_token --
-- The session of a refresh token, used or not.
select t.session_id from telemetry.refresh_token t where t.token_hash = $1::bytea;

-- end_session --
-- End a session; nothing when it has ended.
update telemetry.session s set revoked_at = clock_timestamp(), revoked_because = $2::text
 where s.session_id = $1::text and s.revoked_at is null
returning s.session_id;

-- end_sessions_of --
-- End all sessions of an account.
update telemetry.session s set revoked_at = clock_timestamp(), revoked_because = $2::text
 where s.account_id = $1::text and s.revoked_at is null;

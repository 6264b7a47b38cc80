-- key_by_id --
-- One key that was not revoked.
select k.key_id, k.name, k.env, k.secret_hash, k.former_hash, k.former_valid_until, k.scopes, k.tier,
       k.devices, k.groups, k.metrics, k.created_at, k.created_by, k.expires_at, k.last_used_at, k.last_used_from,
       k.signing_key, k.former_signing_key, k.payers, k.payer_tiers
  from telemetry.api_key k
 where k.key_id = $1::text and k.revoked_at is null;

-- key_ever --
-- One key, also when it was revoked.
select k.key_id, k.name, k.env, k.secret_hash, k.former_hash, k.former_valid_until, k.scopes, k.tier,
       k.devices, k.groups, k.metrics, k.created_at, k.created_by, k.expires_at, k.last_used_at, k.last_used_from,
       k.signing_key, k.former_signing_key, k.payers, k.payer_tiers, k.revoked_at
  from telemetry.api_key k
 where k.key_id = $1::text;

-- keys_by_id --
-- Those of these keys that were not revoked.
select k.key_id, k.name, k.env, k.secret_hash, k.former_hash, k.former_valid_until, k.scopes, k.tier,
       k.devices, k.groups, k.metrics, k.created_at, k.created_by, k.expires_at, k.last_used_at, k.last_used_from,
       k.signing_key, k.former_signing_key, k.payers, k.payer_tiers
  from telemetry.api_key k
 where k.key_id = any ($1::text[]) and k.revoked_at is null;

-- lock_key --
-- One key that was not revoked, held until the transaction ends.
select k.key_id, k.name, k.env, k.secret_hash, k.former_hash, k.former_valid_until, k.scopes, k.tier,
       k.devices, k.groups, k.metrics, k.created_at, k.created_by, k.expires_at, k.last_used_at, k.last_used_from,
       k.signing_key, k.former_signing_key, k.payers, k.payer_tiers
  from telemetry.api_key k
 where k.key_id = $1::text and k.revoked_at is null
   for update;

-- all_keys --
-- Every key that was not revoked, newest first, up to $1.
select k.key_id, k.name, k.env, k.secret_hash, k.former_hash, k.former_valid_until, k.scopes, k.tier,
       k.devices, k.groups, k.metrics, k.created_at, k.created_by, k.expires_at, k.last_used_at, k.last_used_from,
       k.signing_key, k.former_signing_key, k.payers, k.payer_tiers
  from telemetry.api_key k
 where k.revoked_at is null
 order by k.created_at desc, k.key_id desc
 limit $1::int4;

-- expiring_keys --
-- Up to $2 keys that end in a week, or in the last quarter of a shorter life, of which nothing was told yet.
select k.key_id, k.name, k.env, k.secret_hash, k.former_hash, k.former_valid_until, k.scopes, k.tier,
       k.devices, k.groups, k.metrics, k.created_at, k.created_by, k.expires_at, k.last_used_at, k.last_used_from,
       k.signing_key, k.former_signing_key, k.payers, k.payer_tiers
  from telemetry.api_key k
 where k.revoked_at is null and k.expires_at > $1::timestamptz
   and k.expires_at <= $1::timestamptz + least(interval '7 days', (k.expires_at - k.created_at) / 4)
   and not exists (select from telemetry.event e where e.dedup_id = k.key_id || ':expiring')
 order by k.expires_at
 limit $2::int4;

-- lock_keys --
-- Changes that depend on what other keys there are come one after another, until the transaction ends.
select pg_advisory_xact_lock(8218, 3);

-- count_keys --
-- How many keys there are, and how many ever were.
select count(*) filter (where k.revoked_at is null) as present, count(*) as ever from telemetry.api_key k;

-- insert_key --
-- Store a new key.
insert into telemetry.api_key
  (key_id, name, env, secret_hash, scopes, tier, devices, groups, metrics, created_by, expires_at, signing_key,
   payers, payer_tiers)
values ($1::text, $2::text, $3::text, $4::bytea, $5::text[], $6::text, $7::text[], $8::text[], $9::text[],
        $10::text, $11::timestamptz, $12::bytea, $13::text[], $14::text[])
returning created_at;

-- has_other_admin --
-- Whether another key may still administer everything.
select exists (
  select 1 from telemetry.api_key k
   where k.key_id <> $1::text and k.revoked_at is null and 'admin' = any (k.scopes)
     and num_nonnulls(k.devices, k.groups, k.metrics) = 0
     and (k.expires_at is null or k.expires_at > $2::timestamptz));

-- revoke_key --
-- Accept a key no longer.
update telemetry.api_key k set revoked_at = clock_timestamp()
 where k.key_id = $1::text and k.revoked_at is null
returning k.key_id;

-- rotate_key --
-- Give a key a new secret and, with $4, a new signing key; the former ones stay valid until $3.
update telemetry.api_key k
   set former_hash = k.secret_hash, former_valid_until = $3::timestamptz, secret_hash = $2::bytea,
       former_signing_key = k.signing_key, signing_key = coalesce($4::bytea, k.signing_key)
 where k.key_id = $1::text and k.revoked_at is null
returning k.key_id;

-- note_uses --
-- When and from where keys were last used; a later stamp of another daemon stands.
update telemetry.api_key k
   set last_used_at = u.used_at, last_used_from = u.used_from
  from unnest($1::text[], $2::timestamptz[], $3::text[]) as u (key_id, used_at, used_from)
 where k.key_id = u.key_id and (k.last_used_at is null or k.last_used_at < u.used_at);

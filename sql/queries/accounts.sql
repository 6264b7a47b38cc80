-- account_by_name --
-- One account, by its name in any case.
select a.account_id, a.username, a.password_hash, a.scopes, a.tier, a.devices, a.groups, a.metrics, a.created_at,
       a.created_by, a.disabled_at, a.last_login_at, a.updated_at
  from telemetry.account a
 where lower(a.username) = lower($1::text);

-- accounts_by_id --
-- Those of these accounts that are not disabled.
select a.account_id, a.username, a.password_hash, a.scopes, a.tier, a.devices, a.groups, a.metrics, a.created_at,
       a.created_by, a.disabled_at, a.last_login_at, a.updated_at
  from telemetry.account a
 where a.account_id = any ($1::text[]) and a.disabled_at is null;

-- all_accounts --
-- Every account, by name, up to $1.
select a.account_id, a.username, a.password_hash, a.scopes, a.tier, a.devices, a.groups, a.metrics, a.created_at,
       a.created_by, a.disabled_at, a.last_login_at, a.updated_at
  from telemetry.account a
 order by lower(a.username)
 limit $1::int4;

-- lock_accounts --
-- Accounts are made one after another, until the transaction ends.
select pg_advisory_xact_lock(8218, 4);

-- count_accounts --
-- How many accounts there are, and whether one has this name.
select count(*) as present, coalesce(bool_or(lower(a.username) = lower($1::text)), false) as is_taken
  from telemetry.account a;

-- insert_account --
-- Store a new account.
insert into telemetry.account
  (account_id, username, password_hash, scopes, tier, devices, groups, metrics, created_by)
values ($1::text, $2::text, $3::text, $4::text[], $5::text, $6::text[], $7::text[], $8::text[], $9::text)
returning account_id, username, password_hash, scopes, tier, devices, groups, metrics, created_at, created_by,
          disabled_at, last_login_at, updated_at;

-- change_account --
-- Set what is not null: the password, and whether it is disabled.
update telemetry.account a
   set password_hash = coalesce($2::text, a.password_hash),
       disabled_at = case when $3::boolean is null then a.disabled_at
                          when $3::boolean then coalesce(a.disabled_at, clock_timestamp()) end,
       updated_at = clock_timestamp()
 where a.account_id = $1::text
returning a.account_id, a.username, a.password_hash, a.scopes, a.tier, a.devices, a.groups, a.metrics, a.created_at,
          a.created_by, a.disabled_at, a.last_login_at, a.updated_at;

-- delete_account --
-- Remove an account; its sessions are ended before.
delete from telemetry.account a where a.account_id = $1::text returning a.account_id;

-- note_login --
-- When an account was last logged in to.
update telemetry.account a set last_login_at = clock_timestamp() where a.account_id = $1::text;

-- insert_subscription --
-- Store a subscription that lives $4 seconds without a socket; nothing when its key has $5 already.
insert into telemetry.subscription (subscription_id, key_id, wanted, expires_at)
select $1::text, $2::text, $3::jsonb, clock_timestamp() + make_interval(secs => $4::float8)
 where (select count(*) from telemetry.subscription s
         where s.key_id = $2::text and s.expires_at > clock_timestamp()) < $5::int8
returning created_at;

-- subscription_by_id --
-- One subscription that lives.
select s.subscription_id, s.key_id, s.wanted, s.created_at
  from telemetry.subscription s
 where s.subscription_id = $1::text and s.expires_at > clock_timestamp();

-- hold_subscriptions --
-- Let those that have a socket live for $2 seconds from now, and say which there are.
update telemetry.subscription s
   set expires_at = clock_timestamp() + make_interval(secs => $2::float8)
 where s.subscription_id = any ($1::text[])
returning s.subscription_id;

-- present_subscriptions --
-- Which of these there are.
select s.subscription_id from telemetry.subscription s where s.subscription_id = any ($1::text[]);

-- delete_subscription --
-- Remove a subscription and tell every process, since one of them may hold its socket.
with gone as (
  delete from telemetry.subscription s where s.subscription_id = $1::text returning s.subscription_id
)
select g.subscription_id, pg_notify('telemetry_subscription', '') as told from gone g;

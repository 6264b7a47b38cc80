-- list_channels --
-- A page of the channels by name.
select c.channel_id, c.name, c.kind, c.settings, c.secrets, c.fallback, c.failures, c.open_until, c.last_sent_at,
       c.last_failed_at, c.last_error, c.revision, c.created_at, c.updated_at, c.created_by, count(*) over () as total
  from telemetry.channel c
 where ($1::text is null or c.kind = $1::text)
 order by c.name
 limit $2::int4 offset $3::int4;

-- find_channels --
-- The channels of these names.
select c.channel_id, c.name, c.kind, c.settings, c.secrets, c.fallback, c.failures, c.open_until, c.last_sent_at,
       c.last_failed_at, c.last_error, c.revision, c.created_at, c.updated_at, c.created_by
  from telemetry.channel c
 where c.name = any ($1::text[]);

-- count_channels --
-- How many channels there are.
select count(*) from telemetry.channel;

-- insert_channel --
-- Store a channel; no row when its name is taken.
insert into telemetry.channel (channel_id, name, kind, settings, secrets, fallback, created_by)
values ($1::text, $2::text, $3::text, $4::jsonb, $5::bytea, $6::text, $7::text)
    on conflict (name) do nothing
returning created_at, updated_at;

-- hold_channel --
-- One channel, which nobody else changes until the end of the transaction.
select c.channel_id, c.name, c.kind, c.settings, c.secrets, c.fallback, c.failures, c.open_until, c.last_sent_at,
       c.last_failed_at, c.last_error, c.revision, c.created_at, c.updated_at, c.created_by
  from telemetry.channel c
 where c.name = $1::text
   for update;

-- update_channel --
-- Change a channel; its circuit is closed, since the change may have mended it.
update telemetry.channel c
   set settings = $2::jsonb, secrets = $3::bytea, fallback = $4::text, revision = c.revision + 1, failures = 0,
       open_until = null, updated_at = clock_timestamp()
 where c.name = $1::text
returning c.revision, c.updated_at;

-- delete_channel --
-- Remove a channel; what waits for it is told to nobody.
delete from telemetry.channel c where c.name = $1::text returning c.name;

-- rules_of --
-- The names of the rules that tell this channel.
select r.name from telemetry.alert_rule r where $1::text = any (r.notification_channels) order by r.name limit 100;

-- note_sent --
-- A message went through: the circuit is closed.
update telemetry.channel c
   set failures = 0, open_until = null, last_sent_at = clock_timestamp()
 where c.name = $1::text;

-- note_failed --
-- A message did not go through; after $3 failures in a row nothing is sent for a while, longer each time, $4 to $5 seconds.
update telemetry.channel c
   set failures = c.failures + 1, last_failed_at = clock_timestamp(), last_error = $2::text,
       open_until = case when c.failures + 1 >= $3::int4
                    then clock_timestamp() + make_interval(secs => least(
                           $4::float8 * 2 ^ least(c.failures + 1 - $3::int4, 16), $5::float8))
                    end
 where c.name = $1::text;

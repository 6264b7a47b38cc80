-- outbox --
-- How many events the relay has yet to publish, and the age of the oldest in seconds; no row without a relay.
select count(e.seq) as events,
       coalesce(extract(epoch from clock_timestamp() - min(e.created_at)), 0)::float8 as oldest_s
  from telemetry.consumer c
  left join telemetry.event e on e.seq > c.position
 where c.name = 'relay'
 group by c.name;

-- works --
-- How far each follower of the journal has come, and whether a process holds its lease.
select c.name, c.position, (c.holder is not null and c.lease_expires_at > clock_timestamp()) as is_led
  from telemetry.consumer c;

-- networks_of_key --
-- The networks that a key was used from, the last used first.
select n.network, n.first_used_at, n.last_used_at
  from telemetry.key_network n
 where n.key_id = $1::text
 order by n.last_used_at desc, n.network;

-- note_networks --
-- When keys were last used from networks that are known, which are returned; a later stamp of another daemon stands.
with used as (
  select n.key_id, n.network, u.used_at
    from unnest($1::text[], $2::text[], $3::timestamptz[]) as u (key_id, network, used_at)
    join telemetry.key_network n using (key_id, network)
   order by n.key_id, n.network
     for update of n
)
update telemetry.key_network n
   set last_used_at = greatest(n.last_used_at, used.used_at)
  from used
 where n.key_id = used.key_id and n.network = used.network
returning n.key_id, n.network;

-- count_networks --
-- How many networks of a key are known, and how many of them for less than a day.
select count(*) as present,
       count(*) filter (where n.first_used_at > $2::timestamptz - interval '1 day') as of_day
  from telemetry.key_network n
 where n.key_id = $1::text;

-- add_network --
-- Remember a network of a key; no row when it is known.
insert into telemetry.key_network (key_id, network, first_used_at, last_used_at)
values ($1::text, $2::text, $3::timestamptz, $3::timestamptz)
on conflict (key_id, network) do nothing
returning network;

-- forget_networks --
-- Keep the $2 networks of a key that were used last.
delete from telemetry.key_network n
 where n.key_id = $1::text
   and n.network in (
     select o.network from telemetry.key_network o where o.key_id = $1::text
      order by o.last_used_at desc, o.network offset $2::int4);

-- forget_key --
-- Forget the networks of a key that is revoked.
delete from telemetry.key_network n where n.key_id = $1::text;

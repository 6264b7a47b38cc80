-- of_key --
-- Up to $3 callers that used the former secret of a key whose overlap goes on at $2, the last one first.
select c.address, c.agent, c.last_used_at
  from telemetry.former_caller c
  join telemetry.api_key k using (key_id, former_valid_until)
 where c.key_id = $1::text and c.former_valid_until > $2::timestamptz
 order by c.last_used_at desc, c.address, c.agent
 limit $3::int4;

-- note --
-- When callers last used the former secrets of keys; not of one that was rotated again or revoked meanwhile.
insert into telemetry.former_caller (key_id, former_valid_until, address, agent, last_used_at)
select u.key_id, u.former_valid_until, u.address, u.agent, u.used_at
  from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::timestamptz[])
         as u (key_id, former_valid_until, address, agent, used_at)
  join telemetry.api_key k using (key_id, former_valid_until)
 where k.revoked_at is null
 order by u.key_id, u.former_valid_until, u.address, u.agent
on conflict (key_id, former_valid_until, address, agent) do update
   set last_used_at = greatest(former_caller.last_used_at, excluded.last_used_at);

-- forget --
-- Keep the $2 callers of each of these keys that came last.
delete from telemetry.former_caller c
 using (select r.key_id, r.former_valid_until, r.address, r.agent,
               row_number() over (partition by r.key_id, r.former_valid_until
                                  order by r.last_used_at desc, r.address, r.agent) as place
          from telemetry.former_caller r
         where r.key_id = any ($1::text[])) x
 where x.place > $2::int4
   and (c.key_id, c.former_valid_until, c.address, c.agent)
     = (x.key_id, x.former_valid_until, x.address, x.agent);

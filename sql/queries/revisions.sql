-- hold_rules --
-- Wait for the changes of rules and the evaluator, and keep them waiting, as each of them does before it takes a row.
select v.rules_version from telemetry.alert_version v for update;

-- hold_member --
-- Keep a device from being deleted, before the groups that it joins or leaves are held.
select d.device_id from telemetry.device d where d.device_id = $1::text for key share;

-- hold_groups --
-- Wait for the changes of groups, and keep them waiting.
select v.version from telemetry.group_version v for update;

-- hold_keys --
-- Wait for the changes of keys that depend on other keys, and keep them waiting.
select pg_advisory_xact_lock(8218, 3);

-- metric --
-- When a definition was last changed, in microseconds since 1970; it is held until the transaction ends.
select telemetry.to_us(d.updated_at)::text from telemetry.metric_definition d where d.name = $1::text for update;

-- device --
-- When what is said of a device was last changed.
select telemetry.to_us(d.updated_at)::text from telemetry.device d where d.device_id = $1::text for update;

-- group --
-- When a group was last changed.
select telemetry.to_us(g.updated_at)::text from telemetry.device_group g where g.group_id = $1::text for update;

-- rule --
-- When a rule was last changed.
select telemetry.to_us(r.updated_at)::text from telemetry.alert_rule r where r.rule_id = $1::text for update;

-- channel --
-- When a channel was last changed.
select telemetry.to_us(c.updated_at)::text from telemetry.channel c where c.name = $1::text for update;

-- silence --
-- When a silence was last changed.
select telemetry.to_us(s.updated_at)::text from telemetry.silence s where s.silence_id = $1::text for update;

-- watch --
-- When a watch was last changed.
select telemetry.to_us(w.updated_at)::text from telemetry.watch w where w.watch_id = $1::text for update;

-- alert --
-- Whether an alert is open, acknowledged or resolved, which is all that is ever changed of one.
select a.status from telemetry.alert a where a.alert_id = $1::text for update;

-- key --
-- Up to when the secret before the last rotation is valid, which every rotation sets; nothing else of a key is changed.
select coalesce(telemetry.to_us(k.former_valid_until), 0)::text from telemetry.api_key k
 where k.key_id = $1::text and k.revoked_at is null for update;

-- account --
-- When an account was last changed.
select telemetry.to_us(a.updated_at)::text from telemetry.account a where lower(a.username) = lower($1::text) for update;

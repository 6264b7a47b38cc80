-- of_firings --
-- One message to each channel of the rules of these alerts, once.
insert into telemetry.notification (notification_id, alert_id, rule_id, device_id, metric_name, level, channel, kind,
                                    next_attempt_at, idempotency_key)
select 'ntf_' || replace(gen_random_uuid()::text, '-', ''), a.alert_id, a.rule_id, a.device_id, a.metric_name, a.level,
       c.channel, 'fire', clock_timestamp(), a.alert_id || ':fire:' || c.channel
  from telemetry.alert a
  join telemetry.alert_rule r on r.rule_id = a.rule_id
 cross join lateral unnest(r.notification_channels) with ordinality as c (channel, place)
 where a.alert_id = any ($1::text[]) and not a.is_shadow
 order by a.triggered_at, a.alert_id, c.place
    on conflict do nothing;

-- of_closings --
-- One closing message to everybody who has, or will get, a firing message of these alerts. $2: the request behind it.
insert into telemetry.notification (notification_id, alert_id, rule_id, device_id, metric_name, level, channel, kind,
                                    next_attempt_at, idempotency_key, verdict_data)
select 'ntf_' || replace(gen_random_uuid()::text, '-', ''), n.alert_id, n.rule_id, n.device_id, n.metric_name, n.level,
       n.channel, 'close', clock_timestamp(), n.alert_id || ':close:' || n.channel,
       $2::jsonb
  from telemetry.notification n
 where n.alert_id = any ($1::text[]) and n.kind = 'fire' and n.status <> 'dropped' and n.replaces_id is null
 order by n.ordinal
    on conflict do nothing;

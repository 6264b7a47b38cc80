-- insert_ticket --
-- Store the hash of a ticket that may be used within $5 seconds.
insert into telemetry.ticket (ticket_hash, key_id, subscription_id, channel, expires_at, session_id)
values ($1::bytea, $2::text, $3::text, $4::text, clock_timestamp() + make_interval(secs => $5::float8), $6::text);

-- use_ticket --
-- Take a ticket, whoever comes first; nothing when it was used or is too old.
delete from telemetry.ticket t
 where t.ticket_hash = $1::bytea
returning t.key_id, t.subscription_id, t.channel, t.session_id, t.expires_at > clock_timestamp() as is_valid;

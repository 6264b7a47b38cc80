-- After a rotation: whether somebody still comes with the former secret, and from where.

alter table telemetry.api_key add column former_used_at timestamptz;
alter table telemetry.api_key add column former_used_from text;

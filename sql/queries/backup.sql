-- is_there --
-- Whether this database holds telemetry already.
select exists (select 1 from pg_namespace n where n.nspname = 'telemetry') as is_there;

-- server_major --
-- The major version of the server.
select current_setting('server_version_num')::int4 / 10000 as server_major;

-- renew --
-- Begin a new numbering, and give back what the processes of the former installation held. Runs in the transaction of
-- the restore: the numbers of what was stored after the backup will be given again, so no cursor of then may go on.
update telemetry.installation set epoch = substr(md5(gen_random_uuid()::text), 1, 8);
update telemetry.consumer
   set holder = null, lease_expires_at = '-infinity', lease_epoch = lease_epoch + 1;
delete from telemetry.daemon;
delete from telemetry.ticket;
delete from telemetry.subscription;

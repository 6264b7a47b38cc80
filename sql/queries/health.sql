-- probe --
-- Answers at all, and with the settings that make a commit durable.
select current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('server_version') as server_version,
       current_setting('data_checksums') as data_checksums,
       pg_is_in_recovery() as is_standby,
       pg_database_size(current_database()) as database_bytes;

-- probe --
-- Answers at all, with the settings that make a commit durable, and how long the longest wait for a lock is.
select current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('server_version') as server_version,
       current_setting('data_checksums') as data_checksums,
       pg_is_in_recovery() as is_standby,
       pg_database_size(current_database()) as database_bytes,
       (select coalesce(max(extract(epoch from clock_timestamp() - a.query_start)), 0)::float8
          from pg_stat_activity a
         where a.datname = current_database() and a.wait_event_type = 'Lock') as lock_wait_s;

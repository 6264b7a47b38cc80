-- lock_runner --
-- One migration runner at a time, until the transaction ends.
select pg_advisory_xact_lock(8218, 0);

-- make_table --
-- The table that says which migrations were applied.
create schema if not exists telemetry;
create table if not exists telemetry.migration (
  number int4 primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default clock_timestamp()
);

-- applied --
-- Every migration that was applied.
select number, checksum from telemetry.migration order by number;

-- is_applied --
-- Whether this one was applied.
select exists (select 1 from telemetry.migration where number = $1::int4);

-- record --
-- Note that this one is applied.
insert into telemetry.migration (number, name, checksum) values ($1::int4, $2::text, $3::text);

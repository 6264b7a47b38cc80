-- The journal: every point enters here, in commit order; and who follows it how far.

create sequence telemetry.journal_seq;

create table telemetry.journal (
  seq bigint not null,
  appended_at timestamptz not null,
  writer uuid not null,
  points int4 not null,
  body bytea not null,
  primary key (seq, appended_at)
) partition by range (appended_at);
-- The body is packed columns: compressing it again would cost more than the disk it saves.
alter table telemetry.journal alter column body set storage external;

create table telemetry.consumer (
  name text primary key,
  position bigint not null default 0,
  holder uuid,
  lease_epoch bigint not null default 0,
  lease_expires_at timestamptz not null default '-infinity'
);
insert into telemetry.consumer (name) values ('compactor'), ('housekeeping');

create table telemetry.daemon (
  instance uuid primary key,
  address text not null,
  started_at timestamptz not null default clock_timestamp(),
  seen_at timestamptz not null default clock_timestamp()
);

create table telemetry.ingest_batch (
  scope text not null,
  batch_id text not null,
  payload_hash bytea not null,
  answer bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (scope, batch_id)
);
-- Read by housekeeping's expire_batches.
create index ingest_batch_created on telemetry.ingest_batch (created_at);

-- Make the hourly partitions of the journal from p_from for p_hours; only housekeeping and the start call this.
create function telemetry.journal_make_partitions(p_from timestamptz, p_hours int) returns int
language plpgsql as $$
declare
  hour timestamptz;
  label text;
  made int := 0;
begin
  perform pg_advisory_xact_lock(8218, 2);
  for i in 0 .. p_hours - 1 loop
    hour := date_trunc('hour', p_from, 'UTC') + make_interval(hours => i);
    label := 'journal_' || to_char(hour at time zone 'UTC', 'YYYYMMDDHH24');
    if to_regclass('telemetry.' || label) is null then
      -- Attached after it was made: `partition of` would stop every reader and writer of the journal.
      execute format('create table telemetry.%I (like telemetry.journal including storage)', label);
      execute format('alter table telemetry.journal attach partition telemetry.%I for values from (%L) to (%L)',
                     label, hour, hour + interval '1 hour');
      made := made + 1;
    end if;
  end loop;
  return made;
end $$;
select telemetry.journal_make_partitions(clock_timestamp() - interval '1 hour', 50);

-- Append one block in commit order and return its position (design: the lock is held to the end of the transaction,
-- so a number is only taken when every smaller one is already visible).
-- Raises TL001 when the writer's catalogue is stale, TL002 when a batch id is already stored.
create function telemetry.journal_append(
  p_writer uuid, p_catalog_version bigint, p_points int4, p_body bytea, p_notify boolean,
  p_scopes text[], p_batch_ids text[], p_payload_hashes bytea[], p_answers bytea[]
) returns bigint
language plpgsql as $$
declare
  stored int;
  next_seq bigint;
begin
  if cardinality(p_batch_ids) > 0 then
    insert into telemetry.ingest_batch (scope, batch_id, payload_hash, answer)
    select b.scope, b.batch_id, b.payload_hash, b.answer
      from unnest(p_scopes, p_batch_ids, p_payload_hashes, p_answers) as b (scope, batch_id, payload_hash, answer)
     order by b.scope, b.batch_id
    on conflict do nothing;
    get diagnostics stored = row_count;
    if stored <> cardinality(p_batch_ids) then
      raise exception 'a batch id is already stored' using errcode = 'TL002';
    end if;
  end if;
  perform pg_advisory_xact_lock(8218, 1);
  if p_catalog_version <> (select i.catalog_version from telemetry.installation i) then
    raise exception 'the catalogue of the writer is stale' using errcode = 'TL001';
  end if;
  next_seq := nextval('telemetry.journal_seq');
  insert into telemetry.journal (seq, appended_at, writer, points, body)
  values (next_seq, clock_timestamp(), p_writer, p_points, p_body);
  if p_notify then
    perform pg_notify('telemetry_journal', '');
  end if;
  return next_seq;
end $$;

-- A change that makes cached series or definitions wrong takes the same lock, so that no stale block commits after it.
create function telemetry.catalog_changed() returns bigint
language plpgsql as $$
declare
  version bigint;
begin
  perform pg_advisory_xact_lock(8218, 1);
  update telemetry.installation set catalog_version = catalog_version + 1 returning catalog_version into version;
  perform pg_notify('telemetry_journal', '');
  return version;
end $$;

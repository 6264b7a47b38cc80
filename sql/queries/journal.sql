-- append --
-- Commit one block in commit order; returns its position.
select telemetry.journal_append($1::uuid, $2::int8, $3::int4, $4::bytea, $5::boolean,
                                $6::text[], $7::text[], $8::bytea[], $9::bytea[]);

-- read_after --
-- Blocks after a position in commit order; bodies of this writer are left out when $4 is set.
select j.seq, j.appended_at, j.writer, j.points,
       case when $4::boolean and j.writer = $3::uuid then null else j.body end as body
  from telemetry.journal j
 where j.seq > $1::int8
 order by j.seq
 limit $2::int4;

-- read_entries --
-- Blocks and events after a position in one order, at most $2; bodies of this writer are left out when $4 is set.
select x.seq, x.appended_at, x.writer, x.points, x.body, x.event_id, x.type, x.severity, x.subject, x.message, x.data,
       x.device_id, x.metric_name, x.occurred_at, x.created_by, x.cause
  from ((select j.seq, j.appended_at, j.writer, j.points,
                case when $4::boolean and j.writer = $3::uuid then null else j.body end as body,
                null::text as event_id, null::text as type, null::text as severity, null::text as subject,
                null::text as message, null::jsonb as data, null::text as device_id, null::text as metric_name,
                null::timestamptz as occurred_at, null::text as created_by, null::text as cause
           from telemetry.journal j
          where j.seq > $1::int8
          order by j.seq
          limit $2::int4)
        union all
        (select e.seq, null, null, null, null, e.event_id, e.type, e.severity, e.subject, e.message,
                e.data - '_cause', e.device_id, e.metric_name, e.occurred_at, e.created_by, e.data ->> '_cause'
           from telemetry.event e
          where e.seq > $1::int8
          order by e.seq
          limit $2::int4)) x
 order by x.seq
 limit $2::int4;

-- read_newest --
-- The newest blocks and events up to a position, newest first, at most $2, until the blocks hold $3 points.
with newest as (
  select x.seq, x.is_event, sum(x.points) over (order by x.seq desc) as points
    from ((select j.seq, false as is_event, j.points
             from telemetry.journal j
            where j.seq <= $1::int8
            order by j.seq desc
            limit $2::int4)
          union all
          (select e.seq, true, 0
             from telemetry.event e
            where e.seq <= $1::int8
            order by e.seq desc
            limit $2::int4)) x
   order by x.seq desc
   limit $2::int4
)
select n.seq, j.appended_at, j.writer, j.points, j.body, e.event_id, e.type, e.severity, e.subject, e.message,
       e.data - '_cause' as data, e.device_id, e.metric_name, e.occurred_at, e.created_by, e.data ->> '_cause' as cause
  from newest n
  left join telemetry.journal j on not n.is_event and j.seq = n.seq
  left join telemetry.event e on n.is_event and e.seq = n.seq
 where n.points <= $3::int8
 order by n.seq desc;

-- read_one --
-- The body of one block.
select j.body from telemetry.journal j where j.seq = $1::int8;

-- bounds --
-- The position up to which blocks may have been removed, and the last number given out; 0 before the first.
select i.journal_floor, case when s.is_called then s.last_value else 0 end as last_number
  from telemetry.installation i, telemetry.journal_seq s;

-- newest_seq --
-- The newest position that is kept, or null.
select j.seq from telemetry.journal j order by j.seq desc limit 1;

-- last_number --
-- The last number the journal gave out; 0 before the first.
select case when s.is_called then s.last_value else 0 end from telemetry.journal_seq s;

-- end_before --
-- The newest position that was appended before a time, or null.
select j.seq from telemetry.journal j where j.appended_at < $1::timestamptz order by j.seq desc limit 1;

-- stored_batches --
-- Which of these batches are stored, with their hash and answer.
select b.scope, b.batch_id, b.payload_hash, b.answer
  from telemetry.ingest_batch b
  join unnest($1::text[], $2::text[]) as w (scope, batch_id) using (scope, batch_id);

-- position_of --
-- How far a consumer is.
select c.position from telemetry.consumer c where c.name = $1::text;

-- register_daemon --
-- Say that this daemon is alive.
insert into telemetry.daemon (instance, address) values ($1::uuid, $2::text)
on conflict (instance) do update set seen_at = clock_timestamp();

-- prove --
-- Write a block and take it back: it commits when appends can, and then there is nothing.
do $$ begin
  perform pg_advisory_xact_lock(8218, 1);
  insert into telemetry.journal (seq, appended_at, writer, points, body)
  values (0, clock_timestamp(), '00000000-0000-0000-0000-000000000000', 0, '');
  raise exception 'taken back' using errcode = 'TL003';
exception when sqlstate 'TL003' then null;
end $$;

-- unregister_daemon --
-- Say that this daemon stopped.
delete from telemetry.daemon where instance = $1::uuid;

-- other_daemons --
-- How many other daemons were alive in the last 30 seconds.
select count(*) from telemetry.daemon
 where instance <> $1::uuid and seen_at > clock_timestamp() - interval '30 seconds';

-- take --
-- Take or renew the lease $1 for $2 for $3 seconds; no row while another holds it.
update telemetry.consumer c
   set holder = $2::uuid, lease_expires_at = clock_timestamp() + make_interval(secs => $3::float8),
       lease_epoch = c.lease_epoch + (c.holder is distinct from $2::uuid)::int4
 where c.name = $1::text and (c.holder is null or c.holder = $2::uuid or c.lease_expires_at < clock_timestamp())
returning c.lease_epoch, c.position;

-- begin --
-- Let $1 follow from $2 on, unless it follows already.
insert into telemetry.consumer (name, position) values ($1::text, $2::int8) on conflict (name) do nothing;

-- release --
-- Give the lease $1 back, if $2 holds it in epoch $3.
update telemetry.consumer c
   set holder = null, lease_expires_at = '-infinity'
 where c.name = $1::text and c.holder = $2::uuid and c.lease_epoch = $3::int8;

-- confirm --
-- Whether $2 holds the lease $1 in epoch $3, and keep it so until the transaction ends.
select c.position from telemetry.consumer c
 where c.name = $1::text and c.holder = $2::uuid and c.lease_epoch = $3::int8
   for share;

-- commit_lazily --
-- The commit of this transaction need not wait for the disk.
set local synchronous_commit = off;

-- move --
-- Move the position of $1 from $4 to $5, if $2 holds the lease in epoch $3.
update telemetry.consumer c
   set position = $5::int8
 where c.name = $1::text and c.holder = $2::uuid and c.lease_epoch = $3::int8 and c.position = $4::int8
returning c.position;

-- read_position --
-- How far $1 has followed the journal.
select c.position from telemetry.consumer c where c.name = $1::text;

-- version --
-- The version of all groups.
select v.version from telemetry.group_version v;

-- next_version --
-- Begin a change of groups; further ones wait until it is committed.
update telemetry.group_version v set version = v.version + 1 returning v.version;

-- nodes --
-- Every group, as the memory view holds it.
select g.group_id, g.name, g.parent_id, g.version from telemetry.device_group g;

-- members_since --
-- The members of the groups that changed after a version.
select g.group_id, array_agg(m.device_id) as device_ids
  from telemetry.device_group g
  join telemetry.group_member m using (group_id)
 where g.version > $1::int8
 group by g.group_id;

-- count_groups --
-- How many groups there are.
select count(*) from telemetry.device_group;

-- list_groups --
-- A page of the groups that fit the filters, by name, and how many fit.
select g.group_id, g.name, g.kind, g.parent_id, g.location, g.metadata, g.created_at, g.updated_at, g.created_by,
       count(*) over () as total
  from telemetry.device_group g
 where ($1::text is null or g.kind = $1::text)
   and ($2::text is null or g.name = $2::text)
   and ($3::text is null or g.parent_id = $3::text)
   and ($4::text[] is null or g.group_id = any ($4::text[]))
 order by g.name
 limit $5::int4 offset $6::int4;

-- find_group --
-- One group.
select g.group_id, g.name, g.kind, g.parent_id, g.location, g.metadata, g.created_at, g.updated_at, g.created_by
  from telemetry.device_group g
 where g.group_id = $1::text;

-- named_group --
-- The id of the group of this name.
select g.group_id from telemetry.device_group g where g.name = $1::text;

-- insert_group --
-- Store a group.
insert into telemetry.device_group (group_id, name, kind, parent_id, location, metadata, version, created_by)
values ($1::text, $2::text, $3::text, $4::text, $5::jsonb, $6::jsonb, $7::int8, $8::text)
returning created_at, updated_at;

-- update_group --
-- Change everything of a group that may change.
update telemetry.device_group g
   set name = $2::text, kind = $3::text, parent_id = $4::text, location = $5::jsonb, metadata = $6::jsonb,
       version = $7::int8, updated_at = clock_timestamp()
 where g.group_id = $1::text
returning g.updated_at;

-- touch_group --
-- Say that the members of a group changed, before a device comes and after one went; no row when the group is gone.
update telemetry.device_group g
   set version = $2::int8,
       updated_at = case when exists (select 1 from telemetry.group_member m
                                       where m.group_id = $1::text and m.device_id = $3::text)
                         then g.updated_at else clock_timestamp() end
 where g.group_id = $1::text
returning g.group_id;

-- above --
-- A group and all groups that it is in.
with recursive up (group_id, parent_id) as (
  select g.group_id, g.parent_id from telemetry.device_group g where g.group_id = $1::text
  union
  select g.group_id, g.parent_id from telemetry.device_group g join up on g.group_id = up.parent_id
)
select up.group_id from up;

-- has_children --
-- Whether there are groups in this one.
select exists (select 1 from telemetry.device_group g where g.parent_id = $1::text);

-- delete_group --
-- Remove a group; no row when it is gone.
delete from telemetry.device_group g where g.group_id = $1::text returning g.group_id;

-- hold_devices --
-- Those of these devices that there are, kept from being deleted until the transaction ends.
select d.device_id from telemetry.device d
 where d.device_id = any ($1::text[]) order by d.device_id for key share;

-- add_members --
-- Put devices into a group; those that are in it stay.
insert into telemetry.group_member (group_id, device_id)
select $1::text, w.device_id from unnest($2::text[]) as w (device_id) order by w.device_id
on conflict do nothing
returning device_id;

-- remove_member --
-- Take a device out of a group; no row when it is not in it.
delete from telemetry.group_member m where m.group_id = $1::text and m.device_id = $2::text returning m.device_id;

-- remove_members --
-- Take all devices out of a group.
delete from telemetry.group_member m where m.group_id = $1::text returning m.device_id;

-- tags_of --
-- What a tag of these devices says; those without it are left out.
select d.device_id, d.tags ->> $2::text as value
  from telemetry.device d
 where d.device_id = any ($1::text[]) and d.tags ? $2::text;

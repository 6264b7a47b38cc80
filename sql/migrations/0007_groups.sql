-- Groups of devices: a tree of named sets.

create table telemetry.device_group (
  group_id text primary key,
  name text not null unique,
  kind text not null,
  parent_id text references telemetry.device_group (group_id),
  location jsonb,
  metadata jsonb not null default '{}',
  -- The version of all groups when this one, or who is in it, changed last: daemons read what changed since they looked.
  version bigint not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  created_by text not null
);
-- Read by groups.has_children.
create index device_group_parent on telemetry.device_group (parent_id);

create table telemetry.group_member (
  group_id text not null references telemetry.device_group (group_id),
  device_id text not null references telemetry.device (device_id),
  added_at timestamptz not null default clock_timestamp(),
  primary key (group_id, device_id)
);
-- Read by devices.leave_groups.
create index group_member_device on telemetry.group_member (device_id);

-- Grows with every change of a group. Whoever changes one takes this row first (after the devices it names), so that
-- changes come one after the other. Apart from the version of the catalogue: no block that was judged becomes wrong.
create table telemetry.group_version (
  singleton boolean primary key default true check (singleton),
  version bigint not null default 1
);
insert into telemetry.group_version default values;

-- Limits: what each key and address has used of its budgets, in one row each, for all daemons together.

-- Of a budget by the hour `slots` and `counts` say how many requests were in which half minute since 1970, oldest first;
-- of a budget of points, `points` are left at `changed_at`. There is no index beside the key, so that an update stays in
-- its page.
create table telemetry.budget (
  subject text,
  class text,
  slots int4[] not null default '{}',
  counts int4[] not null default '{}',
  points float8,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (subject, class)
) with (fillfactor = 70);

-- Take up to p_want requests of a budget of p_limit in any hour. p_owed were let in before without being asked for; a
-- negative number is given back. `left_over` is what remains for all, `wait_s` how long until something of it expires.
create function telemetry.take_requests(p_subject text, p_class text, p_want int4, p_limit int4, p_owed int4,
                                        out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_slots int4[];
  v_counts int4[];
  v_used int4;
  v_add int4;
  v_last int4;
  v_now float8;
  v_slot int4;
begin
  -- A budget that a crash loses is no harm, and nobody is to wait for the disk.
  perform set_config('synchronous_commit', 'off', true);
  insert into telemetry.budget (subject, class) values (p_subject, p_class) on conflict do nothing;
  select b.slots, b.counts into v_slots, v_counts
    from telemetry.budget b where b.subject = p_subject and b.class = p_class for update;
  v_now := extract(epoch from clock_timestamp());
  v_slot := floor(v_now / 30);
  -- A slot counts until its youngest request is an hour old.
  select coalesce(array_agg(x.slot order by x.slot), '{}'), coalesce(array_agg(x.n order by x.slot), '{}'),
         coalesce(sum(x.n), 0)
    into v_slots, v_counts, v_used
    from unnest(v_slots, v_counts) x (slot, n)
   where x.slot >= v_slot - 120 and x.n > 0;
  granted := least(p_want, greatest(p_limit - v_used - p_owed, 0));
  v_add := granted + p_owed;
  v_used := greatest(v_used + v_add, 0);
  v_last := coalesce(array_length(v_slots, 1), 0);
  if v_add > 0 then
    if v_last > 0 and v_slots[v_last] >= v_slot then
      v_counts[v_last] := v_counts[v_last] + v_add;
    else
      v_slots := v_slots || v_slot;
      v_counts := v_counts || v_add;
    end if;
  end if;
  while v_add < 0 and v_last > 0 loop
    v_counts[v_last] := v_counts[v_last] + v_add;
    v_add := least(v_counts[v_last], 0);
    v_counts[v_last] := greatest(v_counts[v_last], 0);
    v_last := v_last - 1;
  end loop;
  update telemetry.budget b set slots = v_slots, counts = v_counts, changed_at = clock_timestamp()
   where b.subject = p_subject and b.class = p_class;
  left_over := greatest(p_limit - v_used, 0);
  wait_s := coalesce(30 * (v_slots[1] + 121) - v_now, 0);
end $$;

-- Take p_need points, or up to p_want, of a budget that p_per_s points are added to up to p_burst. Who needs more than
-- that may have it when the budget is full, and then waits longer. p_owed and the answer are as those of take_requests;
-- `wait_s` is how long until p_need are there, or, if they were, until the budget is full.
create function telemetry.take_points(p_subject text, p_class text, p_need int4, p_want int4, p_per_s float8,
                                      p_burst float8, p_owed int4,
                                      out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_points float8;
  v_changed_at timestamptz;
  v_now timestamptz;
  v_need float8 := least(p_need, p_burst);
begin
  perform set_config('synchronous_commit', 'off', true);
  insert into telemetry.budget (subject, class) values (p_subject, p_class) on conflict do nothing;
  select b.points, b.changed_at into v_points, v_changed_at
    from telemetry.budget b where b.subject = p_subject and b.class = p_class for update;
  v_now := clock_timestamp();
  v_points := least(p_burst, coalesce(v_points + p_per_s * greatest(extract(epoch from v_now - v_changed_at), 0),
                                      p_burst));
  v_points := least(p_burst, v_points - p_owed);
  granted := case when v_points >= v_need then greatest(p_need, least(p_want, floor(v_points))) else 0 end;
  v_points := v_points - granted;
  update telemetry.budget b set points = v_points, changed_at = v_now
   where b.subject = p_subject and b.class = p_class;
  left_over := greatest(floor(v_points), 0);
  wait_s := case when p_need > 0 and granted = 0 then (v_need - v_points) / p_per_s
                 else (p_burst - v_points) / p_per_s end;
end $$;

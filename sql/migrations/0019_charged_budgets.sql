-- Budgets: what a key asks is counted for those who made it, too.

-- Keys and accounts without the scope admin in whose budgets this key's requests are counted beside its own, with their
-- tiers; the widest first. A key that an administrator made has none.
alter table telemetry.api_key
  add column payers text[] not null default '{}',
  add column payer_tiers text[] not null default '{}';

-- As take_requests, of several budgets at once: what the last subject takes, all before it pay for. Each grants what those
-- before it did at most, and gets back what those behind it did not want. `left_over` and `wait_s` are those of the
-- scarcest.
create function telemetry.take_requests_of(p_subjects text[], p_class text, p_want int4, p_limits int4[], p_owed int4,
                                           out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_taken record;
  v_granted int4[] := '{}';
  v_left int4[] := '{}';
  v_wait float8[] := '{}';
begin
  granted := p_want;
  for i in 1 .. cardinality(p_subjects) loop
    select t.granted, t.left_over, t.wait_s into v_taken
      from telemetry.take_requests(p_subjects[i], p_class, granted, p_limits[i], p_owed) t;
    granted := v_taken.granted;
    v_granted := v_granted || v_taken.granted;
    v_left := v_left || v_taken.left_over;
    v_wait := v_wait || v_taken.wait_s;
  end loop;
  for i in 1 .. cardinality(p_subjects) loop
    if v_granted[i] > granted then
      perform telemetry.take_requests(p_subjects[i], p_class, 0, p_limits[i], granted - v_granted[i]);
      v_left[i] := v_left[i] + v_granted[i] - granted;
    end if;
    if left_over is null or v_left[i] < left_over then
      left_over := v_left[i];
      wait_s := v_wait[i];
    end if;
  end loop;
end $$;

-- The same of budgets of points.
create function telemetry.take_points_of(p_subjects text[], p_class text, p_need int4, p_want int4, p_per_s float8[],
                                         p_bursts float8[], p_owed int4,
                                         out granted int4, out left_over int4, out wait_s float8)
language plpgsql as $$
declare
  v_taken record;
  v_granted int4[] := '{}';
  v_left int4[] := '{}';
  v_is_short boolean := false;
begin
  granted := p_want;
  wait_s := 0;
  for i in 1 .. cardinality(p_subjects) loop
    -- Behind one that has not enough nothing is taken, but what is owed is.
    select t.granted, t.left_over, t.wait_s into v_taken
      from telemetry.take_points(p_subjects[i], p_class, case when v_is_short then 0 else p_need end, granted,
                                 p_per_s[i], p_bursts[i], p_owed) t;
    granted := v_taken.granted;
    v_granted := v_granted || v_taken.granted;
    v_left := v_left || v_taken.left_over;
    if not v_is_short then
      v_is_short := p_need > 0 and granted = 0;
      wait_s := case when v_is_short then v_taken.wait_s else greatest(wait_s, v_taken.wait_s) end;
    end if;
  end loop;
  for i in 1 .. cardinality(p_subjects) loop
    if v_granted[i] > granted then
      perform telemetry.take_points(p_subjects[i], p_class, 0, 0, p_per_s[i], p_bursts[i], granted - v_granted[i]);
      v_left[i] := v_left[i] + v_granted[i] - granted;
    end if;
    left_over := least(left_over, v_left[i]);
  end loop;
end $$;

-- take_requests --
-- Take up to $3 requests of budgets of $4 in any hour, of which $5 were let in before; the last of $1 asks, the others pay.
select t.granted, t.left_over, t.wait_s
  from telemetry.take_requests_of($1::text[], $2::text, $3::int4, $4::int4[], $5::int4) t;

-- take_points --
-- Take $3 points, or up to $4, of budgets that get $5 a second up to $6, and of which $7 were let in before.
select t.granted, t.left_over, t.wait_s
  from telemetry.take_points_of($1::text[], $2::text, $3::int4, $4::int4, $5::float8[], $6::float8[], $7::int4) t;

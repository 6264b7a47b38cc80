-- read_bounded --
-- Blocks after $1 up to $2, at most $3, in commit order, until they hold $4 points; one at least.
select w.seq, w.body
  from (select j.seq, j.body, sum(j.points) over (order by j.seq) - j.points as points_before
          from (select x.seq, x.points, x.body
                  from telemetry.journal x
                 where x.seq > $1::int8 and x.seq <= $2::int8
                 order by x.seq
                 limit $3::int4) j) w
 where w.points_before < $4::int8
 order by w.seq;

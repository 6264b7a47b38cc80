-- Figures of the whole service: the hours of all series together.

-- Read by stats.points_by_hour.
create index rollup_hour on telemetry.rollup using brin (hour) with (pages_per_range = 16);

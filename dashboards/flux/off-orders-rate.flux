// Movements' and areas' episodes that began, in each ten minutes, by rule. What was retracted does not count.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "episodes" and r._field == "gone")
  |> filter(fn: (r) => r.rule =~ /^(route|stop|convoy|escort)\./ or r.rule =~ /^area\.(forbidden|left|required)$/)
  |> filter(fn: (r) => not r._value)
  |> group(columns: ["rule"])
  |> aggregateWindow(every: 10m, fn: count, createEmpty: true, timeSrc: "_start")
  |> keep(columns: ["_time", "_value", "rule"])

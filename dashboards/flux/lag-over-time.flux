// Both ways to be late: the record behind the log, the log behind the world.
from(bucket: "rahdar_system")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "record" and r._field == "lag_s")
  |> group(columns: ["host"])
  |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false)
  |> keep(columns: ["_time", "_value", "host"])

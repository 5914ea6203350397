// Records that wait in the log for the record stage.
from(bucket: "rahdar_system")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "record" and r._field == "backlog_records")
  |> group(columns: ["host"])
  |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false)
  |> keep(columns: ["_time", "_value", "host"])

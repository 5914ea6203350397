// Alerts opened in each ten minutes, by severity.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and r.transition == "opened" and r._field == "seq")
  |> group(columns: ["severity"])
  |> aggregateWindow(every: 10m, fn: count, createEmpty: true, timeSrc: "_start")
  |> keep(columns: ["_time", "_value", "severity"])

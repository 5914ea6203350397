// The newest messages that were not taken.
from(bucket: "rahdar_system")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "rejects")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> limit(n: 50)
  |> keep(columns: ["_time", "stage", "reason", "login", "detail", "bytes"])

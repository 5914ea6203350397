// What happened to this vehicle's alerts.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> filter(fn: (r) => r.subject == "${vehicle}")
  |> sort(columns: ["_time"], desc: true)
  |> keep(columns: ["_time", "severity", "transition", "text", "detail", "actor", "alert"])

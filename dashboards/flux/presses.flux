// Who pressed, when, and how late it came.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "presses" and (r._field == "late_s" or r._field == "located"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> keep(columns: ["_time", "subject", "what", "late_s", "located"])

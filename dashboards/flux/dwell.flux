// From receiving what decided it to the alert being open: what our own machinery costs.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and r.transition == "opened" and r._field == "waited_s")
  |> group(columns: ["severity"])
  |> keep(columns: ["_time", "_value", "severity"])
  |> sort(columns: ["_time"])

// By device: a vehicle may carry two.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "positions" and r.vehicle == "${vehicle}" and r._field == "late_s")
  |> group(columns: ["device"])
  |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false)
  |> keep(columns: ["_time", "_value", "device"])

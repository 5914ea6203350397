// By device: a vehicle may carry two.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "positions" and r.vehicle == "${vehicle}" and r._field == "speed_mps")
  |> group(columns: ["device"])
  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)
  |> keep(columns: ["_time", "_value", "device"])

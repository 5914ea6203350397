// Tellings on their way: due and not taken up, being sent, taken by a relay that will report.
from(bucket: "rahdar_system")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "notify" and (r._field == "due" or r._field == "sending" or r._field == "awaited"))
  |> group(columns: ["_field"])
  |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false)
  |> keep(columns: ["_time", "_value", "_field"])

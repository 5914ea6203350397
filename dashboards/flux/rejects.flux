// Messages that were not taken, by reason. Whole minutes only: a minute that is not over would look like a fall.
import "date"

from(bucket: "rahdar_system")
  |> range(start: date.truncate(t: v.timeRangeStart, unit: 1m), stop: date.truncate(t: v.timeRangeStop, unit: 1m))
  |> filter(fn: (r) => r._measurement == "rejects" and r._field == "bytes")
  |> group(columns: ["reason"])
  |> aggregateWindow(every: 1m, fn: count, createEmpty: true, timeSrc: "_start")
  |> keep(columns: ["_time", "_value", "reason"])

// Of the positions: the share that came more than a minute after it was seen. Whole minutes only: a minute that is not over would look like a fall.
import "date"

from(bucket: "rahdar_${region}_raw")
  |> range(start: date.truncate(t: v.timeRangeStart, unit: 1m), stop: date.truncate(t: v.timeRangeStop, unit: 1m))
  |> filter(fn: (r) => r._measurement == "positions" and r._field == "late_s")
  |> group()
  |> map(fn: (r) => ({_time: r._time, _value: if r._value > 60.0 then 1.0 else 0.0}))
  |> aggregateWindow(every: 1m, fn: mean, createEmpty: false)
  |> keep(columns: ["_time", "_value"])

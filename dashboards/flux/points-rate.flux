// Positions a second, taken and marked. Whole minutes only: a minute that is not over would look like a fall.
import "date"

from(bucket: "rahdar_${region}_raw")
  |> range(start: date.truncate(t: v.timeRangeStart, unit: 1m), stop: date.truncate(t: v.timeRangeStop, unit: 1m))
  |> filter(fn: (r) => r._measurement == "positions" and r._field == "flags")
  |> map(fn: (r) => ({_time: r._time, _value: r._value, outcome: if r._value == 0 or r._value == 1 then "accepted" else "flagged"}))
  |> group(columns: ["outcome"])
  |> aggregateWindow(every: 1m, fn: count, createEmpty: true)
  |> map(fn: (r) => ({_time: r._time, _value: float(v: r._value) / 60.0, outcome: r.outcome}))
  |> group(columns: ["outcome"])

// Metres along the road between neighbours, and what the plan allows.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "convoys" and r.convoy == "${convoy}" and r._field == "gap_m")
  |> map(fn: (r) => ({_time: r._time, _value: r._value, gap: r.ahead + " - " + r.behind}))
  |> group(columns: ["gap"])
  |> aggregateWindow(every: v.windowPeriod, fn: max, createEmpty: false)
  |> keep(columns: ["_time", "_value", "gap"])

// What the plan allows.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "convoys" and r.convoy == "${convoy}" and r._field == "limit_m")
  |> group()
  |> aggregateWindow(every: v.windowPeriod, fn: last, createEmpty: false)
  |> map(fn: (r) => ({_time: r._time, _value: r._value, gap: "limit"}))
  |> group(columns: ["gap"])

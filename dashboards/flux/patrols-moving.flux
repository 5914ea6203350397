// How many patrols drove in each five minutes, of those that were heard.
moving = from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "positions" and r.role == "patrol" and r._field == "speed_mps")
  |> group(columns: ["vehicle"])
  |> aggregateWindow(every: 5m, fn: max, createEmpty: false, timeSrc: "_start")
  |> group()

union(tables: [
  moving |> map(fn: (r) => ({_time: r._time, _value: 1, patrols: "heard"})),
  moving |> filter(fn: (r) => r._value > 1.0) |> map(fn: (r) => ({_time: r._time, _value: 1, patrols: "driving"})),
])
  |> group(columns: ["patrols", "_time"])
  |> sum()
  |> group(columns: ["patrols"])
  |> sort(columns: ["_time"])

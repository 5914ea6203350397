// Time and road: where each member is on its road. Lines that part are a convoy that parts.
members = from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "convoys" and r.convoy == "${convoy}" and r._field == "gap_m")
  |> group(columns: ["ahead", "behind"])
  |> last()
  |> group()

names = union(tables: [
  members |> map(fn: (r) => ({_value: r.ahead})),
  members |> map(fn: (r) => ({_value: r.behind})),
]) |> group() |> distinct() |> findColumn(fn: (key) => true, column: "_value")

from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "positions" and r._field == "road_km")
  |> filter(fn: (r) => contains(value: r.vehicle, set: names))
  |> group(columns: ["vehicle"])
  |> aggregateWindow(every: v.windowPeriod, fn: last, createEmpty: false)
  |> keep(columns: ["_time", "_value", "vehicle"])

// Episodes that began in this time, by rule; what was retracted does not count.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "episodes" and (r._field == "gone" or r._field == "duration_s" or r._field == "open"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => not r.gone)
  |> map(fn: (r) => ({r with lasted_s: if r.open then float(v: int(v: now()) - int(v: r._time)) / 1000000000.0 else r.duration_s}))
  |> group(columns: ["rule"])
  |> reduce(
    identity: {episodes: 0, still_open: 0, total_s: 0.0},
    fn: (r, accumulator) => ({
      episodes: accumulator.episodes + 1,
      still_open: accumulator.still_open + (if r.open then 1 else 0),
      total_s: accumulator.total_s + r.lasted_s,
    }),
  )
  |> group()
  |> sort(columns: ["episodes"], desc: true)

// Every patrol of this time: for how long it was heard and drove, how far by its own speed. The least first. Silence of more than two minutes counts as two.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "positions" and r.role == "patrol" and r._field == "speed_mps")
  |> aggregateWindow(every: 10s, fn: mean, createEmpty: false)
  |> group(columns: ["vehicle"])
  |> sort(columns: ["_time"])
  |> map(fn: (r) => ({r with since_ms: int(v: r._time) / 1000000}))
  |> difference(columns: ["since_ms"], keepFirst: true)
  |> map(fn: (r) => ({r with lasted_s: if not exists r.since_ms then 0.0 else if r.since_ms > 120000 then 120.0 else float(v: r.since_ms) / 1000.0}))
  |> reduce(
    identity: {heard_s: 0.0, driven_s: 0.0, driven_km: 0.0, last_ns: 0},
    fn: (r, accumulator) => ({
      heard_s: accumulator.heard_s + r.lasted_s,
      driven_s: accumulator.driven_s + (if r._value > 1.0 then r.lasted_s else 0.0),
      driven_km: accumulator.driven_km + r._value * r.lasted_s / 1000.0,
      last_ns: int(v: r._time),
    }),
  )
  |> group()
  |> map(fn: (r) => ({vehicle: r.vehicle, heard_s: r.heard_s, driven_s: r.driven_s, driven_km: r.driven_km, last: time(v: r.last_ns)}))
  |> sort(columns: ["driven_km"])

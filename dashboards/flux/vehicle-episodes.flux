// What held for this vehicle, and when.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "episodes" and r.subject == "${vehicle}")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => not r.gone)
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> map(fn: (r) => ({
    _time: r._time,
    rule: r.rule,
    object: r.object,
    severity: r.severity,
    mode: r.mode,
    state: if r.open then "goes on" else "over",
    duration_s: if r.open then float(v: int(v: now()) - int(v: r._time)) / 1000000000.0 else r.duration_s,
    peak: r.peak,
  }))

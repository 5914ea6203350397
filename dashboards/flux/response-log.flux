// What people did, and how long it took.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and (r.transition == "acknowledged" or r.transition == "closed"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> sort(columns: ["_time"], desc: true)
  |> map(fn: (r) => ({
    _time: r._time,
    severity: r.severity,
    transition: r.transition,
    subject: r.subject,
    actor: r.actor,
    took_s: float(v: int(v: r._time) - r.opened_us * 1000) / 1000000000.0,
    allowed_s: r.respond_within_s,
    text: r.text,
  }))

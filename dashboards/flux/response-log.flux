// What people did, and how long it took; what the policy closes by itself is not theirs.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and (r.transition == "acknowledged" or r.transition == "closed"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> filter(fn: (r) => r.actor != "policy")
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
    answers: exists r.acknowledge_s,
  }))
  |> map(fn: (r) => ({r with late_s: if r.answers and r.allowed_s > 0.0 and r.took_s > r.allowed_s then r.took_s - r.allowed_s else 0.0}))
  |> drop(columns: ["answers"])

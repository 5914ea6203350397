// Annotations: what happened to alerts.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and r._field == "text")
  |> filter(fn: (r) => r.transition == "opened" or r.transition == "acknowledged" or r.transition == "closed")
  |> group()
  |> sort(columns: ["_time"])
  |> map(fn: (r) => ({_time: r._time, _value: r._value, title: r.severity + " " + r.transition, tags: r.rule}))

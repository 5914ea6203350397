// Of the alerts whose time is up, or that were answered before: the share that was answered in time. Whoever is overdue counts as late.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["alert"])
  |> sort(columns: ["seq"])
  |> reduce(
    identity: {opened_us: 0, allowed_s: 0.0, acknowledge_s: -1.0, closed_ns: 0},
    fn: (r, accumulator) => ({
      opened_us: if r.transition == "opened" and accumulator.opened_us == 0 then r.opened_us else accumulator.opened_us,
      allowed_s: r.respond_within_s,
      acknowledge_s: if exists r.acknowledge_s and accumulator.acknowledge_s < 0.0 then r.acknowledge_s else accumulator.acknowledge_s,
      closed_ns: if r.transition == "closed" and accumulator.closed_ns == 0 then int(v: r._time) else accumulator.closed_ns,
    }),
  )
  |> group()
  |> filter(fn: (r) => r.opened_us > 0 and r.allowed_s > 0.0)
  |> map(fn: (r) => ({r with stood_s: float(v: (if r.closed_ns > 0 then r.closed_ns else int(v: now())) - r.opened_us * 1000) / 1000000000.0}))
  |> filter(fn: (r) => r.acknowledge_s >= 0.0 or r.stood_s > r.allowed_s)
  |> map(fn: (r) => ({_time: now(), _value: if r.acknowledge_s >= 0.0 and r.acknowledge_s <= r.allowed_s then 1.0 else 0.0}))
  |> mean()

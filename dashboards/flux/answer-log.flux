// Of each alert that was opened in this time: when somebody was told, when somebody answered, how long that took. Overdue ones first, then the newest.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["alert"])
  |> sort(columns: ["seq"])
  |> reduce(
    identity: {opened_us: 0, severity: "", subject: "", told_s: -1.0, acknowledge_s: -1.0, respond_within_s: 0.0, actor: "", text: "", closed_ns: 0},
    fn: (r, accumulator) => ({
      opened_us: if r.transition == "opened" and accumulator.opened_us == 0 then r.opened_us else accumulator.opened_us,
      severity: r.severity,
      subject: r.subject,
      told_s: if exists r.told_s and accumulator.told_s < 0.0 then r.told_s else accumulator.told_s,
      acknowledge_s: if exists r.acknowledge_s and accumulator.acknowledge_s < 0.0 then r.acknowledge_s else accumulator.acknowledge_s,
      respond_within_s: r.respond_within_s,
      actor: if exists r.acknowledge_s and accumulator.acknowledge_s < 0.0 then r.actor else accumulator.actor,
      text: r.text,
      closed_ns: if r.transition == "closed" and accumulator.closed_ns == 0 then int(v: r._time) else accumulator.closed_ns,
    }),
  )
  |> group()
  |> filter(fn: (r) => r.opened_us > 0)
  |> map(fn: (r) => ({r with
    stood_s: float(v: (if r.closed_ns > 0 then r.closed_ns else int(v: now())) - r.opened_us * 1000) / 1000000000.0,
    open: r.closed_ns == 0,
    answered: r.acknowledge_s >= 0.0,
  }))
  |> map(fn: (r) => ({r with took_s: if r.answered then r.acknowledge_s else r.stood_s}))
  |> map(fn: (r) => ({r with late_s: if r.respond_within_s > 0.0 and r.took_s > r.respond_within_s then r.took_s - r.respond_within_s else 0.0}))
  |> map(fn: (r) => ({
    opened: time(v: r.opened_us * 1000),
    severity: r.severity,
    subject: r.subject,
    told: if r.told_s < 0.0 then (if r.open then "nobody yet" else "nobody") else "told",
    told_s: if r.told_s < 0.0 then r.stood_s else r.told_s,
    answer: if r.answered then (if r.late_s > 0.0 then "late" else "in time")
      else if not r.open then "by nobody"
      else if r.late_s > 0.0 then "OVERDUE" else "not yet",
    answered_s: r.took_s,
    late_s: r.late_s,
    actor: r.actor,
    allowed_s: r.respond_within_s,
    text: r.text,
    overdue: if not r.answered and r.open and r.late_s > 0.0 then 1 else 0,
  }))
  |> sort(columns: ["overdue", "opened"], desc: true)
  |> drop(columns: ["overdue"])

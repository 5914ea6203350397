// Of each alert that was opened in this time: when somebody was told, when somebody answered, how long that took. Newest first.
steps = from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["alert"])
  |> sort(columns: ["seq"])

steps
  |> reduce(
    identity: {opened_us: 0, severity: "", subject: "", told_s: -1.0, acknowledge_s: -1.0, respond_within_s: 0.0, actor: "", text: ""},
    fn: (r, accumulator) => ({
      opened_us: if r.transition == "opened" and accumulator.opened_us == 0 then r.opened_us else accumulator.opened_us,
      severity: r.severity,
      subject: r.subject,
      told_s: if exists r.told_s and accumulator.told_s < 0.0 then r.told_s else accumulator.told_s,
      acknowledge_s: if exists r.acknowledge_s and accumulator.acknowledge_s < 0.0 then r.acknowledge_s else accumulator.acknowledge_s,
      respond_within_s: r.respond_within_s,
      actor: if exists r.acknowledge_s and accumulator.acknowledge_s < 0.0 then r.actor else accumulator.actor,
      text: r.text,
    }),
  )
  |> group()
  |> filter(fn: (r) => r.opened_us > 0)
  |> map(fn: (r) => ({
    opened: time(v: r.opened_us * 1000),
    severity: r.severity,
    subject: r.subject,
    told: if r.told_s < 0.0 then "nobody yet" else "told",
    told_s: if r.told_s < 0.0 then float(v: int(v: now()) - r.opened_us * 1000) / 1000000000.0 else r.told_s,
    answer: if r.acknowledge_s < 0.0 then
      (if r.respond_within_s > 0.0 and float(v: int(v: now()) - r.opened_us * 1000) / 1000000000.0 > r.respond_within_s then "OVERDUE" else "not yet")
    else
      (if r.respond_within_s > 0.0 and r.acknowledge_s > r.respond_within_s then "late" else "in time"),
    answered_s: if r.acknowledge_s < 0.0 then float(v: int(v: now()) - r.opened_us * 1000) / 1000000000.0 else r.acknowledge_s,
    actor: r.actor,
    allowed_s: r.respond_within_s,
    text: r.text,
  }))
  |> sort(columns: ["opened"], desc: true)

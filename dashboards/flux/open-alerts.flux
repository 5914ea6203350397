// The newest word on every alert of the last seven days that is not closed; gravest first, then oldest.
rank = (severity) =>
  if severity == "critical" then 1 else if severity == "high" then 2 else if severity == "medium" then 3 else 4

from(bucket: "rahdar_${region}_events")
  |> range(start: -7d)
  |> filter(fn: (r) => r._measurement == "alerts")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["alert"])
  |> sort(columns: ["seq"])
  |> last(column: "seq")
  |> group()
  |> filter(fn: (r) => r.open)
  |> map(fn: (r) => ({r with waiting_s: float(v: int(v: now()) - r.opened_us * 1000) / 1000000000.0, waits: not r.shelved and not r.acknowledged}))
  |> map(fn: (r) => ({r with late_s: if r.waits and r.respond_within_s > 0.0 and r.waiting_s > r.respond_within_s then r.waiting_s - r.respond_within_s else 0.0}))
  |> map(fn: (r) => ({
    severity: r.severity,
    opened: time(v: r.opened_us * 1000),
    waiting_s: r.waiting_s,
    late_s: r.late_s,
    state: if r.shelved then "shelved" else if r.acknowledged then "acknowledged" else if r.late_s > 0.0 then "OVERDUE" else "NOT ACKNOWLEDGED",
    cause: if r.retracted then "retracted" else if r.active then "goes on" else "over",
    what: r.text,
    rule: r.rule,
    subject: r.subject,
    alert: r.alert,
    rank: rank(severity: r.severity),
  }))
  |> sort(columns: ["rank", "opened"])
  |> drop(columns: ["rank"])

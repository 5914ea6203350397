// How alerts were closed, by rule.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and r.transition == "closed" and r._field == "outcome")
  |> map(fn: (r) => ({rule: r.rule, outcome: if r._value == "" then "by itself" else r._value, _value: 1}))
  |> group(columns: ["rule", "outcome"])
  |> sum()
  |> group()
  |> pivot(rowKey: ["rule"], columnKey: ["outcome"], valueColumn: "_value")

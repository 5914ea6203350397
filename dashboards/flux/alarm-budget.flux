// Alerts opened in the last ten minutes; one per operator is what a person bears (EEMUA 191).
import "array"

none = array.from(rows: [{_time: now(), _value: 0}])

opened = from(bucket: "rahdar_${region}_events")
  |> range(start: -10m)
  |> filter(fn: (r) => r._measurement == "alerts" and r.transition == "opened" and r._field == "seq")
  |> group()
  |> map(fn: (r) => ({_time: now(), _value: 1}))

union(tables: [none, opened])
  |> group()
  |> sum()
  |> map(fn: (r) => ({_time: now(), _value: r._value}))

// How many are open now; a row also when there are none.
import "array"

none = array.from(rows: [{_time: now(), _value: 0}])

open = from(bucket: "rahdar_${region}_events")
  |> range(start: -7d)
  |> filter(fn: (r) => r._measurement == "alerts" and (r._field == "alert" or r._field == "seq" or r._field == "open"))
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["alert"])
  |> sort(columns: ["seq"])
  |> last(column: "seq")
  |> group()
  |> filter(fn: (r) => r.open and r.severity == "high")
  |> map(fn: (r) => ({_time: now(), _value: 1}))

union(tables: [none, open])
  |> group()
  |> sum()
  |> map(fn: (r) => ({_time: now(), _value: r._value}))

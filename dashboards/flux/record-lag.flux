// The record's own gauge: how old was the newest that it had written. An hour when the record itself is silent.
import "array"

silent = array.from(rows: [{_time: now(), _value: 3600.0}])

gauge = from(bucket: "rahdar_system")
  |> range(start: -1m)
  |> filter(fn: (r) => r._measurement == "record" and r._field == "lag_s")
  |> group()
  |> sort(columns: ["_time"])
  |> last()
  |> map(fn: (r) => ({_time: r._time, _value: r._value}))

union(tables: [silent, gauge])
  |> group()
  |> min()
  |> keep(columns: ["_time", "_value"])

// Points that InfluxDB would not take, since the record started. They are among the rejects.
import "array"

none = array.from(rows: [{_time: now(), _value: 0}])

counted = from(bucket: "rahdar_system")
  |> range(start: -1h)
  |> filter(fn: (r) => r._measurement == "record" and r._field == "set_aside")
  |> group()
  |> sort(columns: ["_time"])
  |> last()
  |> map(fn: (r) => ({_time: r._time, _value: r._value}))

union(tables: [none, counted])
  |> group()
  |> max()
  |> keep(columns: ["_time", "_value"])

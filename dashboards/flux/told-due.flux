// For how long the oldest telling has been due that no notifier takes. An hour when the record says nothing of it.
import "array"

silent = array.from(rows: [{_time: now(), _value: 3600.0}])

gauge = from(bucket: "rahdar_system")
  |> range(start: -1m)
  |> filter(fn: (r) => r._measurement == "notify" and r._field == "oldest_due_s")
  |> group()
  |> sort(columns: ["_time"])
  |> last()
  |> map(fn: (r) => ({_time: r._time, _value: r._value}))

union(tables: [silent, gauge])
  |> group()
  |> min()
  |> keep(columns: ["_time", "_value"])

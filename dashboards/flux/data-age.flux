// Seconds since ingest's last word. An hour when there was none: silence must be red, not empty.
import "array"

silent = array.from(rows: [{_time: now(), _value: 3600.0}])

heard = from(bucket: "rahdar_system")
  |> range(start: -1h)
  |> filter(fn: (r) => r._measurement == "ticks" and r._field == "healthy")
  |> group()
  |> sort(columns: ["_time"])
  |> last()
  |> map(fn: (r) => ({_time: now(), _value: float(v: int(v: now()) - int(v: r._time)) / 1000000000.0}))

union(tables: [silent, heard])
  |> group()
  |> min()
  |> keep(columns: ["_time", "_value"])

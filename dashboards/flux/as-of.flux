// When ingest was last heard: as of when the numbers beside it are true. Milliseconds since 1970.
from(bucket: "rahdar_system")
  |> range(start: -24h)
  |> filter(fn: (r) => r._measurement == "ticks" and r._field == "healthy")
  |> group()
  |> sort(columns: ["_time"])
  |> last()
  |> map(fn: (r) => ({_time: r._time, _value: int(v: r._time) / 1000000}))

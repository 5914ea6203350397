// Patrols heard in the last ten minutes.
import "array"

none = array.from(rows: [{_time: now(), _value: 0}])

heard = from(bucket: "rahdar_${region}_raw")
  |> range(start: -10m)
  |> filter(fn: (r) => r._measurement == "positions" and r.role == "patrol" and r._field == "lat_deg")
  |> group(columns: ["vehicle"])
  |> last()
  |> group()
  |> map(fn: (r) => ({_time: now(), _value: 1}))

union(tables: [none, heard])
  |> group()
  |> sum()
  |> map(fn: (r) => ({_time: now(), _value: r._value}))

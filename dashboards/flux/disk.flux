// What is left of the disk.
from(bucket: "rahdar_system")
  |> range(start: -1h)
  |> filter(fn: (r) => r._measurement == "machine" and r._field == "disk_free_pct")
  |> group()
  |> sort(columns: ["_time"])
  |> last()
  |> keep(columns: ["_time", "_value"])

// Every vehicle of the last day: when it was last heard, how late its data comes.
from(bucket: "rahdar_${region}_raw")
  |> range(start: -24h)
  |> filter(fn: (r) => r._measurement == "positions" and (r._field == "late_s" or r._field == "speed_mps"))
  |> last()
  |> pivot(rowKey: ["_time", "vehicle", "device", "role"], columnKey: ["_field"], valueColumn: "_value")
  |> group(columns: ["vehicle"])
  |> sort(columns: ["_time"])
  |> last(column: "late_s")
  |> group()
  |> map(fn: (r) => ({
    vehicle: r.vehicle,
    role: r.role,
    silent_s: float(v: int(v: now()) - int(v: r._time)) / 1000000000.0,
    speed_mps: r.speed_mps,
    late_s: r.late_s,
  }))
  |> sort(columns: ["silent_s"], desc: true)

// Devices that went and came, as the broker says: 1 online, 0 offline.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "links" and r._field == "online")
  |> group(columns: ["device"])
  |> sort(columns: ["_time"])
  |> map(fn: (r) => ({_time: r._time, _value: if r._value == 1 then "online" else "offline", device: r.device}))
  |> group(columns: ["device"])

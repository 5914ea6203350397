// Words that the site's sensors report, over time.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "sensors" and r.site == "${site}" and r._field == "text")
  |> map(fn: (r) => ({_time: r._time, _value: r._value, reading: if r.sensor == r.what then r.sensor else r.sensor + " " + r.what}))
  |> group(columns: ["reading"])
  |> sort(columns: ["_time"])

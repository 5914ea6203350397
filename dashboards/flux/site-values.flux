// Numbers that the site's sensors report; the unit is in the name.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "sensors" and r.site == "${site}" and r._field == "value")
  |> map(fn: (r) => ({_time: r._time, _value: r._value, reading: r.sensor + " " + r.what}))
  |> group(columns: ["reading"])
  |> aggregateWindow(every: v.windowPeriod, fn: mean, createEmpty: false)
  |> keep(columns: ["_time", "_value", "reading"])

// Words that the site's sensors report, over time.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "sensors" and r.site == "${site}" and r._field == "text")
  |> group(columns: ["sensor", "what"])
  |> sort(columns: ["_time"])
  |> keep(columns: ["_time", "_value", "sensor", "what"])

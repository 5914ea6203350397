// Seconds from opening to a person's acknowledgement.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and r._field == "acknowledge_s")
  |> group(columns: ["severity"])
  |> quantile(q: 0.5, method: "estimate_tdigest")
  |> group()
  |> keep(columns: ["severity", "_value"])

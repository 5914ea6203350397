// Of what was acknowledged: the share that was so within the time that the plan gives.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "alerts" and r.transition == "acknowledged")
  |> filter(fn: (r) => r._field == "acknowledge_s" or r._field == "respond_within_s")
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> map(fn: (r) => ({_time: r._time, _value: if r.acknowledge_s <= r.respond_within_s then 1.0 else 0.0}))
  |> mean()

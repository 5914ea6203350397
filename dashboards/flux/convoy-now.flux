// The last gap of each pair of neighbours.
from(bucket: "rahdar_${region}_raw")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "convoys" and r.convoy == "${convoy}")
  |> last()
  |> pivot(rowKey: ["_time", "ahead", "behind"], columnKey: ["_field"], valueColumn: "_value")
  |> group()
  |> map(fn: (r) => ({ahead: r.ahead, behind: r.behind, gap_m: r.gap_m, of_limit: r.gap_m / r.limit_m, as_of: r._time}))
  |> sort(columns: ["gap_m"], desc: true)

// Who was off the orders: by vehicle or convoy and rule, the longest first. What was retracted does not count.
from(bucket: "rahdar_${region}_events")
  |> range(start: v.timeRangeStart, stop: v.timeRangeStop)
  |> filter(fn: (r) => r._measurement == "episodes")
  |> filter(fn: (r) => r._field == "gone" or r._field == "duration_s" or r._field == "open" or r._field == "mode")
  |> filter(fn: (r) => r.rule =~ /^(route|stop|convoy|escort)\./ or r.rule =~ /^area\.(forbidden|left|required)$/)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => not r.gone)
  |> map(fn: (r) => ({r with off_s: if r.open then float(v: int(v: now()) - int(v: r._time)) / 1000000000.0 else r.duration_s}))
  |> group(columns: ["subject", "rule", "mode"])
  |> reduce(
    identity: {times: 0, goes_on: 0, off_s: 0.0, longest_s: 0.0},
    fn: (r, accumulator) => ({
      times: accumulator.times + 1,
      goes_on: accumulator.goes_on + (if r.open then 1 else 0),
      off_s: accumulator.off_s + r.off_s,
      longest_s: if r.off_s > accumulator.longest_s then r.off_s else accumulator.longest_s,
    }),
  )
  |> group()
  |> sort(columns: ["off_s"], desc: true)

// Movements' and areas' episodes that go on, also those that are only watched (shadow).
import "array"

none = array.from(rows: [{_time: now(), _value: 0}])

going = from(bucket: "rahdar_${region}_events")
  |> range(start: -7d)
  |> filter(fn: (r) => r._measurement == "episodes" and (r._field == "open" or r._field == "gone"))
  |> filter(fn: (r) => r.rule =~ /^(route|stop|convoy|escort)\./ or r.rule =~ /^area\.(forbidden|left|required)$/)
  |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value")
  |> filter(fn: (r) => r.open and not r.gone)
  |> group()
  |> map(fn: (r) => ({_time: now(), _value: 1}))

union(tables: [none, going])
  |> group()
  |> sum()
  |> map(fn: (r) => ({_time: now(), _value: r._value}))

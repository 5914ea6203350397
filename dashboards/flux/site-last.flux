// The last word of every sensor of the site, and how old it is.
words = from(bucket: "rahdar_${region}_raw")
  |> range(start: -24h)
  |> filter(fn: (r) => r._measurement == "sensors" and r.site == "${site}" and r._field == "text")
  |> last()
  |> map(fn: (r) => ({sensor: r.sensor, kind: r.kind, what: r.what, said: r._value, age_s: float(v: int(v: now()) - int(v: r._time)) / 1000000000.0}))

numbers = from(bucket: "rahdar_${region}_raw")
  |> range(start: -24h)
  |> filter(fn: (r) => r._measurement == "sensors" and r.site == "${site}" and r._field == "value")
  |> last()
  |> map(fn: (r) => ({sensor: r.sensor, kind: r.kind, what: r.what, said: string(v: r._value), age_s: float(v: int(v: now()) - int(v: r._time)) / 1000000000.0}))

union(tables: [words, numbers])
  |> group()
  |> sort(columns: ["sensor", "what"])

// Reads dashboards and rule groups with Grafana's own types, strictly: an unknown field is a fault. One line a fault on stdout.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/alerting"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	bad := false
	for _, path := range os.Args[1:] {
		data, err := os.ReadFile(path)
		if err != nil {
			fmt.Println(path, err)
			os.Exit(2)
		}
		if strings.Contains(path, "rulegroup") {
			err = (&alerting.RuleGroup{}).UnmarshalJSONStrict(data)
		} else {
			err = (&dashboard.Dashboard{}).UnmarshalJSONStrict(data)
		}
		if err != nil && err.Error() != "" { // it may be a typed nil
			fmt.Println(path, err)
			bad = true
		}
	}
	if bad {
		os.Exit(1)
	}
}

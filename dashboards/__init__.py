"""Grafana dashboards as code: queries in `flux/`, panels in `boards`, what Grafana reads in `json/`."""

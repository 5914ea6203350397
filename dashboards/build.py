"""Write what Grafana reads: `python -m dashboards.build`; with `--check` say whether the committed files are what would be written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from dashboards.boards import BOARDS
from dashboards.model import dashboard_json
from dashboards.watchdogs import ALERTING, DASHBOARDS, DATASOURCES

ROOT = Path(__file__).resolve().parent.parent
HEAD = "# Written by `python -m dashboards.build`; change it there.\n"


def _yaml(value: Any) -> str:
    import yaml

    return HEAD + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=160)


def files() -> dict[Path, str]:
    out = {
        ROOT / "dashboards" / "json" / f"{board.uid}.json": json.dumps(
            dashboard_json(board, BOARDS), indent=1, ensure_ascii=False
        )
        + "\n"
        for board in BOARDS
    }
    out[ROOT / "deploy" / "grafana" / "alerting.yaml"] = _yaml(ALERTING)
    out[ROOT / "deploy" / "grafana" / "datasources.yaml"] = _yaml(DATASOURCES)
    out[ROOT / "deploy" / "grafana" / "dashboards.yaml"] = _yaml(DASHBOARDS)
    return out


def main() -> int:
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    extra = set((ROOT / "dashboards" / "json").glob("*.json")) - set(files())
    if "--check" in sys.argv[1:]:
        for path in sorted({*stale, *extra}):
            print(f"{path.relative_to(ROOT)} is not what `python -m dashboards.build` writes")  # noqa: T201  # a command
        return int(bool(stale or extra))
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in extra:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Values as Go prints them, which is how a server shows them in its errors."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def go_map(labels: Json | None) -> str:
    """Return a map as Go prints it."""
    if not labels:
        return "map[string]string(nil)"
    return "map[string]string{" + ", ".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in sorted(labels.items())) + "}"


def go_selector(selector: Json | None) -> str:
    """Return a label selector as Go prints it."""
    if selector is None:
        return "v1.LabelSelector(nil)"
    rules = selector.get("matchExpressions") or []
    listed = ", ".join(
        f'v1.LabelSelectorRequirement{{Key:"{x["key"]}", Operator:"{x["operator"]}", Values:[]string'
        + ("{" + ", ".join(json.dumps(y) for y in x["values"]) + "}" if x.get("values") else "(nil)")
        + "}"
        for x in rules
    )
    shown = f"[]v1.LabelSelectorRequirement{{{listed}}}" if rules else "[]v1.LabelSelectorRequirement(nil)"
    return f"v1.LabelSelector{{MatchLabels:{go_map(selector.get('matchLabels'))}, MatchExpressions:{shown}}}"

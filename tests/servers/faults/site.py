"""A faulty way to every cluster of a site, real or simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from compass.cluster.client import ClusterClient
from compass.names import ObjectRef
from compass.site.access import read_access
from compass.site.clusters import API_VERSION, KIND, member_access
from tests.servers.faults.plan import FaultPlan
from tests.servers.faults.proxy import FaultProxy


@contextmanager
def faulty_site(kubeconfig: Path, plan_of: Callable[[str], FaultPlan]) -> Iterator[dict[str, FaultProxy]]:
    """Put a proxy before every cluster of a site; give the proxies by the names of the Cluster objects.

    ``kubeconfig`` leads to the control cluster; it and the Cluster objects lead through the proxies until the block
    ends, and where they led before after it.  ``plan_of`` says what each cluster meets.
    """
    before, access = kubeconfig.read_bytes(), read_access(kubeconfig)
    with ClusterClient(access, patience_seconds=10) as straight, ExitStack() as stack:
        proxies: dict[str, FaultProxy] = {}
        for item in straight.list_all(API_VERSION, KIND):
            name, is_control = item["metadata"]["name"], item["spec"].get("isControlCluster") is True
            reached = access if is_control else member_access(item, None, "the control cluster")
            proxy = FaultProxy(reached.server, reached.ca_pem, plan_of(name), verify=not reached.skip_tls_verify)
            proxies[name] = stack.enter_context(proxy)
            _lead(straight, item, proxy.cluster_object(item, is_control=is_control)["spec"])
            stack.callback(_lead, straight, item, item["spec"])
            if is_control:
                stack.callback(kubeconfig.write_bytes, before)
                proxy.kubeconfig(kubeconfig, kubeconfig)
        yield proxies


def _lead(client: ClusterClient, item: dict[str, Any], spec: dict[str, Any]) -> None:
    live = client.get(ObjectRef.of(item))
    assert live
    client.replace({**live, "spec": spec})

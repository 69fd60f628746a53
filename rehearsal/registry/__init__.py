"""An OCI registry for rehearsals: distribution specification 1.1, kept as files, with trouble to order.

It answers as distribution 2.8 does (what Harbor and Debian's docker-registry are); one contract runs against both
(``tests/rehearsal/registry``).  Where distribution falls short of the specification, ours follows the specification:

- a blob may be sent within the POST (``?digest=``), and a chunk out of order is refused with 416;
- a tag can be deleted, the list of tags is sorted and comes in pages, referrers are listed;
- what is garbage gets 400 where distribution fails with 500.

Left out: manifests of schema 1 and the conversion to them (an old client gets schema 2), other digests than sha256,
garbage collection, the proxy and read-only modes, storage elsewhere than on disk, notifications.
"""

from __future__ import annotations

from rehearsal.registry.access import Login
from rehearsal.registry.faults import BrokenUpload, FalseDigest, Fault, NoConnection, Unavailable
from rehearsal.registry.server import SimulatedRegistry, Tls

__all__ = ["BrokenUpload", "FalseDigest", "Fault", "Login", "NoConnection", "SimulatedRegistry", "Tls", "Unavailable"]

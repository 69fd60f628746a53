"""What a run needs to know of its site: the registry, and the kubeconfig to start from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from compass.documents import read_text
from compass.errors import InvalidInput
from compass.job import Where
from compass.names import registry_host
from compass.site import environment

KUBECONFIG = ".kubectl.kubeconfig"
REGISTRY_USER = "admin"


@dataclass(frozen=True)
class RegistryPlace:
    """The site registry; ``ca_file`` is ``None`` where the system's authorities are trusted.

    ``username`` and ``password`` are those of the site's environment file, used where Docker's configuration has none.
    """

    host: str
    scheme: str
    ca_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class SiteFiles:
    """The two files of a site's folder."""

    folder: Path

    @property
    def environment(self) -> Path:
        """The shell file of assignments."""
        return self.folder / environment.FILE

    @property
    def kubeconfig(self) -> Path:
        """The control cluster's kubeconfig."""
        return self.folder / KUBECONFIG


def registry_place(where: Where, files: SiteFiles) -> RegistryPlace:
    """Return the registry that was asked for, else the one that the site's environment names.

    Raises:
        InvalidInput: neither names one, or it is no ``host[:port]``.
    """
    found = _environment(where, files)
    text = where.registry or environment.registry_of(found, files.environment)
    scheme, separator, rest = text.partition("://")
    scheme, host = (scheme, rest) if separator else ("https", text)
    if "@" in text:
        raise InvalidInput("read registry", host.rpartition("@")[2], found="credentials in its address",
                           do="log in with docker, or set COMPASS_REGISTRY_USERNAME and COMPASS_REGISTRY_PASSWORD",
                           )  # fmt: skip
    if scheme not in ("http", "https"):
        raise InvalidInput("read registry", repr(text), found=f"scheme {scheme!r}", expected="https or http")
    return RegistryPlace(
        host=registry_host(host.rstrip("/")),
        scheme=scheme,
        ca_file=_ca_file(where, found, files),
        username=found.get(environment.USERNAME, REGISTRY_USER),
        password=found.get(environment.PASSWORD, ""),
    )


def _environment(where: Where, files: SiteFiles) -> dict[str, str]:
    """Return the site's assignments; the file may be absent only where everything else is given."""
    if where.registry and not where.site and not files.environment.is_file():
        return {}
    return environment.read_environment(files.environment)


def _ca_file(where: Where, found: dict[str, str], files: SiteFiles) -> Path | None:
    if where.registry_ca:
        path = Path(where.registry_ca).expanduser()
        if not path.is_file():
            raise InvalidInput("read registry CA", path, found="no such file", expected="PEM certificates")
        return path
    named = found.get(environment.CA_PATH)
    # The environment file may come from another machine; a CA that is not here shows at the first connection.
    return files.folder / named if named and (files.folder / named).is_file() else None


def home_kubeconfig(where: Where, files: SiteFiles) -> Path:
    """Return the kubeconfig that was asked for, else the site's.

    Raises:
        InvalidInput: it is not there.
    """
    path = Path(where.kubeconfig).expanduser() if where.kubeconfig else files.kubeconfig
    if not path.is_file():
        do = "pass --kubeconfig, or --site with the folder that has it; an inventory names one or the other"
        do = "" if where.kubeconfig else do
        raise InvalidInput("read kubeconfig", path, found="no such file", do=do)
    return path


def read_values(values: dict[str, str]) -> dict[str, str]:
    """Return ``--set`` values, those that start with ``@`` replaced by what the file holds.

    Raises:
        InvalidInput: a file cannot be read.
    """
    return {
        name: read_text(Path(value[1:]).expanduser(), f"--set {name}").rstrip("\n") if value.startswith("@") else value
        for name, value in values.items()
    }

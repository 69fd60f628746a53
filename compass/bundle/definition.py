"""The definition of a bundle: ``bundle.yaml``, format version 1 (docs/formats.md)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, Field, field_validator, model_validator

from compass.documents import Document, load_yaml, parse_document
from compass.errors import CompassError
from compass.names import ImageName, ObjectRef, dns_name

API_VERSION = "compass.upgrade/v1"
Role = Literal["control", "user"]
DATA_KINDS = frozenset({"PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"})


def _is_name(text: str) -> str:
    try:
        return dns_name(text, "name")
    except CompassError as error:
        raise ValueError(str(error)) from None


def _is_object_name(text: str) -> str:
    # It becomes part of a path on the API server; RBAC allows a colon.
    _is_name(text.replace(":", "-"))
    return text


def _is_inside(text: str) -> str:
    if text.startswith("/") or ".." in text.split("/") or not text:
        raise ValueError(f"{text!r} leads out of the bundle")
    return text


def _is_image(text: str) -> str:
    try:
        ImageName.parse(text)
    except CompassError as error:
        raise ValueError(str(error)) from None
    return text


def _is_repository(text: str) -> str:
    try:
        name = ImageName.parse(f"localhost/{text}")
    except CompassError:
        name = None
    if name != ImageName("localhost", text):
        raise ValueError(f"{text!r} is no repository, without host and tag")
    return text


Name = Annotated[str, AfterValidator(_is_name)]
ObjectText = Annotated[str, AfterValidator(_is_object_name)]
Inside = Annotated[str, AfterValidator(_is_inside)]
ImageText = Annotated[str, AfterValidator(_is_image)]
RepositoryText = Annotated[str, AfterValidator(_is_repository)]
DigestText = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class ObjectName(Document):
    """One object, as ``delete`` and ``protect`` name it."""

    api_version: str = Field(alias="apiVersion", min_length=1)
    kind: str = Field(min_length=1)
    namespace: Name | Literal[""] = ""
    name: ObjectText

    @property
    def ref(self) -> ObjectRef:
        """The value that the other rooms use."""
        return ObjectRef(self.api_version, self.kind, self.namespace, self.name)


class Metadata(Document):
    """What the bundle is called, what it leads to, and which versions it may be applied to."""

    name: Name
    from_versions: str = Field(default="", alias="from")
    to: str = Field(min_length=1, max_length=128)

    @field_validator("from_versions")
    @classmethod
    def _is_specifier(cls, text: str) -> str:
        try:
            SpecifierSet(text)
        except InvalidSpecifier as error:
            raise ValueError(str(error)) from None
        return text


class BundleImage(Document):
    """One image by its name at the build registry; ``digest`` is that of its manifest or index.

    Before ``pack`` has completed it, the digest may be absent.
    """

    name: ImageText
    digest: DigestText | None = None
    size: int | None = Field(default=None, ge=0)


class ReliedBlob(Document):
    """A blob that the bundle's images need and another bundle holds, with the repositories that one puts it in."""

    digest: DigestText
    size: int = Field(ge=0)
    repositories: tuple[RepositoryText, ...] = Field(min_length=1)


class BaseBundle(Document):
    """The bundle that must have been loaded before: its name, version and digest, and what is relied on."""

    name: Name
    to: str = Field(min_length=1, max_length=128)
    digest: DigestText
    blobs: tuple[ReliedBlob, ...] = Field(min_length=1)

    def __str__(self) -> str:
        return f"{self.name} {self.to} ({self.digest})"


class Variable(Document):
    """A value that templates may use; without a default it must be given with ``--set``."""

    type: Literal["string", "integer", "number", "boolean"] = "string"
    default: str | int | float | bool | None = None
    required: bool = True
    description: str = ""

    @model_validator(mode="after")
    def _default_fits(self) -> Variable:
        kinds: dict[str, tuple[type, ...]] = {
            "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,),
        }  # fmt: skip
        if self.default is None:
            return self
        is_bool = isinstance(self.default, bool)
        if not isinstance(self.default, kinds[self.type]) or (is_bool and self.type != "boolean"):
            raise ValueError(f"default {self.default!r} is no {self.type}")
        return self


class Component(Document):
    """What is upgraded as one: its templates and the roles of the clusters that it goes to."""

    name: Name
    roles: tuple[Role, ...] = ("control", "user")
    templates: tuple[Inside, ...] = ()
    delete: tuple[ObjectName, ...] = ()
    drop_init_containers: tuple[str, ...] = Field(default=(), alias="dropInitContainers")


class Definition(Document):
    """A whole ``bundle.yaml``."""

    api_version: Literal["compass.upgrade/v1"] = Field(alias="apiVersion")
    kind: Literal["UpgradeBundle"]
    metadata: Metadata
    images: tuple[BundleImage, ...] = ()
    base: BaseBundle | None = None
    source_registry: str = Field(default="", alias="sourceRegistry")
    variables: dict[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], Variable] = Field(default_factory=dict)
    components: tuple[Component, ...] = ()
    remove: dict[Name, tuple[ObjectText, ...]] = Field(default_factory=dict)
    protect: tuple[ObjectName, ...] = ()
    checksums: Inside | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> Definition:
        _refuse_twice([x.name for x in self.components], "component")
        _refuse_twice([x.name for x in self.images], "image")
        _refuse_twice([x.digest for x in self.base.blobs] if self.base else [], "blob")
        _refuse_twice([t for x in self.components for t in x.templates], "template")
        return self

    def for_role(self, role: Role) -> tuple[Component, ...]:
        """Return the components that go to a cluster of this role, in the order of the definition."""
        return tuple(x for x in self.components if role in x.roles)


def parse_definition(text: str | bytes, where: str) -> Definition:
    """Return a ``bundle.yaml``.

    Raises:
        InvalidInput: no YAML, an unknown key, a value that does not fit; the place is named.
    """
    return parse_document(Definition, load_yaml(text, where), where)


def _refuse_twice(names: list[str], what: str) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"{what} {min(twice)!r} given twice")


def known_variables(definition: Definition) -> dict[str, Any]:
    """Return each variable that has a default, with it."""
    return {name: x.default for name, x in definition.variables.items() if x.default is not None}

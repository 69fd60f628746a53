"""Who asks, and what they may do: tokens, client certificates, access reviews.

Source: kubernetes.io, Authenticating; Authorization Overview, section Checking API access.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
MASTERS = "system:masters"
ANONYMOUS = "system:anonymous"
# What everybody may read who is known (ClusterRole system:discovery), and strangers (system:public-info-viewer).
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
_DISCOVERY = ("/api", "/apis", "/openapi", *_PUBLIC)


@dataclass(frozen=True)
class User:
    """Somebody who asks."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """May somebody do this?  ``resource`` carries the subresource after a slash."""

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


Rule = Callable[[Question], bool]


def reads(question: Question) -> bool:
    """Allow reading."""
    return question.verb in ("get", "list", "watch")


def nothing(_: Question) -> bool:
    """Allow nothing."""
    return False


@dataclass
class Access:
    """The tokens of a cluster, and the rules for those who are no administrators."""

    tokens: dict[str, User] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)

    def user(self, authorization: str, certificate: User | None) -> User | None:
        """Return who asks, ``None`` for credentials that nobody knows."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self.tokens.get(token.strip())
        if authorization:
            return None
        return certificate or User(ANONYMOUS)

    def allows(self, user: User, question: Question) -> bool:
        """Tell whether a user may do something."""
        if MASTERS in user.groups:
            return True
        if question.path:
            known = _DISCOVERY if user.name != ANONYMOUS else _PUBLIC
            below = any(question.path == x or question.path.startswith(f"{x}/") for x in known)
            return question.verb == "get" and below
        if question.group == "authorization.k8s.io" and user.name != ANONYMOUS:
            return question.verb == "create" and question.resource.startswith("selfsubject")
        return self.rules.get(user.name, nothing)(question)


def subject_review(access: Access, user: User, body: Json) -> Json:
    """Answer a SelfSubjectAccessReview."""
    spec = body.get("spec") or {}
    return {**body, "metadata": {"creationTimestamp": None}, "spec": spec, "status": _verdict(access, user, spec)}


def _verdict(access: Access, user: User, spec: Json) -> Json:
    resource, path = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes") or {}
    sub = resource.get("subresource")
    question = Question(
        str(resource.get("verb") or path.get("verb") or ""), resource.get("group", ""),
        f"{resource.get('resource', '')}{f'/{sub}' if sub else ''}", resource.get("namespace", ""),
        resource.get("name", ""), path.get("path", ""),
    )  # fmt: skip
    return {"allowed": access.allows(user, question)}


def rules_review(access: Access, user: User, body: Json) -> Json:
    """Answer a SelfSubjectRulesReview, roughly: everything, or what is asked for by rule."""
    everything: Sequence[Json] = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    rules = everything if MASTERS in user.groups else []
    status = {"resourceRules": rules, "nonResourceRules": [], "incomplete": MASTERS not in user.groups}
    return {**body, "metadata": {"creationTimestamp": None}, "status": status}


def tokens(admin: str, reader: str) -> Access:
    """Return the access of a cluster with an administrator, and a reader who is known and may do nothing."""
    return Access({admin: User("admin", (MASTERS,)), reader: User("reader")})


def certificate_user(peer: Json | None) -> User | None:
    """Return whom a client certificate names: common name and organizations."""
    if not peer:
        return None
    parts = [pair for row in peer.get("subject", ()) for pair in row]
    name = next((value for key, value in parts if key == "commonName"), "")
    return User(name, tuple(value for key, value in parts if key == "organizationName")) if name else None

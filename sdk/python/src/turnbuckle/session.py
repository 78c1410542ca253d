"""Who calls: the session of a key, as the gateway keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Dict, List, Mapping, Union

from turnbuckle._pb import session_pb2


@dataclass
class AccessSpec:
    """Paths of an API that a key may call, a regular expression, with these methods."""

    url: str = ""
    methods: List[str] = field(default_factory=list)


@dataclass
class AccessDefinition:
    """What of one API a key may call."""

    api_name: str = ""
    api_id: str = ""
    versions: List[str] = field(default_factory=list)
    allowed_urls: List[AccessSpec] = field(default_factory=list)


@dataclass
class BasicAuthData:
    """The password of basic authentication and how it is hashed."""

    password: str = ""
    hash: str = ""


@dataclass
class JWTData:
    """The secret that a key's tokens are signed with."""

    secret: str = ""


@dataclass
class Monitor:
    """At which percentages of a quota events are sent."""

    trigger_limits: List[float] = field(default_factory=list)


@dataclass
class Session:
    """What the gateway knows of a caller, with the names that a session's JSON has. Times are unix seconds."""

    key_id: str = ""
    alias: str = ""
    org_id: str = ""
    meta_data: Dict[str, str] = field(default_factory=dict)
    tags: List[str] = field(default_factory=list)
    rate: float = 0
    per: float = 0
    allowance: float = 0
    quota_max: int = 0
    quota_remaining: int = 0
    quota_renews: int = 0
    quota_renewal_rate: int = 0
    expires: int = 0
    is_inactive: bool = False
    access_rights: Dict[str, AccessDefinition] = field(default_factory=dict)
    apply_policies: List[str] = field(default_factory=list)
    apply_policy_id: str = ""
    max_query_depth: int = 0
    last_check: int = 0
    last_updated: str = ""
    data_expires: int = 0
    session_lifetime: int = 0
    id_extractor_deadline: int = 0
    oauth_client_id: str = ""
    oauth_keys: Dict[str, str] = field(default_factory=dict)
    basic_auth_data: BasicAuthData = field(default_factory=BasicAuthData)
    jwt_data: JWTData = field(default_factory=JWTData)
    hmac_enabled: bool = False
    hmac_string: str = ""
    certificate: str = ""
    monitor: Monitor = field(default_factory=Monitor)
    enable_detailed_recording: bool = False
    post_expiry_action: str = ""
    post_expiry_grace_period: int = 0


_WIRE = {"meta_data": "metadata", "hmac_string": "hmac_secret"}  # names that differ from the messages'
_PARTS = {"basic_auth_data": BasicAuthData, "jwt_data": JWTData, "monitor": Monitor}
_LISTS = ("tags", "apply_policies", "versions", "methods", "trigger_limits")


def from_message(message: Any) -> Session:
    """The session of a message of either protocol."""
    session = Session()
    for f in fields(Session):
        wire = getattr(message, _WIRE.get(f.name, f.name))
        if f.name == "access_rights":
            session.access_rights = {api: _access(wire[api]) for api in wire}
        elif f.name in _PARTS:
            setattr(session, f.name, _plain(_PARTS[f.name], wire))
        elif f.name in ("meta_data", "oauth_keys"):
            setattr(session, f.name, dict(wire))
        else:
            setattr(session, f.name, list(wire) if f.name in _LISTS else wire)
    return session


def _plain(kind: Any, message: Any) -> Any:
    return kind(**{f.name: list(v) if f.name in _LISTS else v for f in fields(kind) for v in (getattr(message, f.name),)})


def _access(message: Any) -> AccessDefinition:
    return AccessDefinition(message.api_name, message.api_id, list(message.versions),
                            [_plain(AccessSpec, spec) for spec in message.allowed_urls])


def to_message(session: Union[Session, Mapping[str, Any]], message: Any = None) -> Any:
    """Writes a session, or a mapping with names of its fields, into a message of either protocol, by default a native one.
    Raises TypeError or ValueError when a value is not of its field's type, and AttributeError for an unknown name."""
    message = session_pb2.Session() if message is None else message
    names = {f.name for f in fields(Session)}
    if isinstance(session, Mapping):
        unknown = sorted(set(session) - names)
        if unknown:
            raise AttributeError("a session has no %s" % ", ".join(unknown))
        given = dict(session)
    else:
        given = {name: getattr(session, name) for name in names}
    for name, value in given.items():
        wire = _WIRE.get(name, name)
        if name == "access_rights":
            for api, access in value.items():
                _write(message.access_rights[api], access)
        elif name in ("meta_data", "oauth_keys"):
            getattr(message, wire).update(value)
        elif name in _PARTS:
            if value not in (None, _PARTS[name]()):
                _write(getattr(message, wire), value)
        elif name in _LISTS:
            getattr(message, wire).extend(value)
        elif value is not None:
            setattr(message, wire, value)
    return message


def _write(message: Any, value: Any) -> None:
    for name, v in (value if isinstance(value, Mapping) else vars(value)).items():
        if name == "allowed_urls":
            for spec in v:
                _write(message.allowed_urls.add(), spec)
        elif name in _LISTS:
            getattr(message, name).extend(v)
        elif name in message.DESCRIPTOR.fields_by_name:
            setattr(message, name, v)

"""tyk.session: the messages that sessions are made of."""

from turnbuckle._pb.coprocess_session_state_pb2 import AccessDefinition, AccessSpec, BasicAuthData, JWTData, Monitor, SessionState

TykSession = SessionState

__all__ = ["AccessDefinition", "AccessSpec", "BasicAuthData", "JWTData", "Monitor", "SessionState", "TykSession"]

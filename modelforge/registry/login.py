"""Credentials for registries, as `docker login` leaves them, and what a registry asks for.

Sources: docker's config.json and its credential helpers (docker/cli cli/config, docker-credential-helpers), the token
handshake of distribution (docs/spec/auth/token.md, oauth.md).
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from modelforge import process
from modelforge.errors import BaseProblem, BuildFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

HELPER_SECONDS = 60.0
"""How long a credential helper may take: it may ask its user."""
_TOKEN_USER = "<token>"  # noqa: S105 (what helpers write in place of a user's name)
_CHALLENGE = re.compile(r"\s*([A-Za-z]+)\s+(.*)", re.DOTALL)
_PAIR = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Credentials for one host: a user and a password, or a token that buys others."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """The value of the header Authorization."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True, kw_only=True, slots=True)
class Challenge:
    """What a 401 asks for: `scheme` in small letters, and its parameters."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def challenge_of(header: str) -> Challenge:
    """What `WWW-Authenticate` says; an empty scheme where it says nothing."""
    found = _CHALLENGE.match(header)
    if not found:
        return Challenge(scheme=header.strip().casefold())
    pairs = {key.casefold(): quoted or plain for key, quoted, plain in _PAIR.findall(found[2])}
    return Challenge(
        scheme=found[1].casefold(),
        realm=pairs.get("realm", ""),
        service=pairs.get("service", ""),
        scope=pairs.get("scope", ""),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCall:
    """How a token is asked for: a GET of `query`, or a POST of `form` where that is not empty."""

    query: str
    form: bytes
    headers: Mapping[str, str]


def token_call(challenge: Challenge, scope: str, login: Login | None) -> TokenCall:
    """The call that a Bearer challenge wants; `scope` where it names none."""
    fields = {"service": challenge.service, "scope": challenge.scope or scope}
    if login is not None and login.identity_token:
        form = {
            "grant_type": "refresh_token",
            "client_id": "modelforge",
            "refresh_token": login.identity_token,
            **fields,
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenCall(query="", form=urlencode(form).encode(), headers=kind)
    headers = {"Authorization": login.basic} if login is not None else {}
    return TokenCall(query=urlencode({k: v for k, v in fields.items() if v}), form=b"", headers=headers)


def token_in(body: bytes) -> str:
    """The token of an answer, "" where there is none."""
    try:
        data = json.loads(body)
        token = data.get("token") or data.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        return ""
    return token if isinstance(token, str) else ""


def login_for(host: str, *, environment: Mapping[str, str], home: Path) -> Login | None:
    """What docker's config.json, or the helper that it names, has for a host; None if nothing.

    Raises:
        BaseProblem: the file or the helper it names is broken.
    """
    folder = environment.get("DOCKER_CONFIG")
    file = (Path(folder) if folder else home / ".docker") / "config.json"
    config = _config(file)
    helper = _for_host(config.get("credHelpers"), host) or config.get("credsStore")
    if isinstance(helper, str) and helper:
        found = _from_helper(helper, host, environment)
        if found is not None:
            return found
    entry = _for_host(config.get("auths"), host)
    return _from_entry(entry, file) if isinstance(entry, dict) else None


def _config(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        hint = "correct it, or move it away"
        raise BaseProblem(f"{file} with docker's logins cannot be read: {error}", hint=hint) from None
    return data if isinstance(data, dict) else {}


def _for_host(table: object, host: str) -> object:
    """Hosts are written with or without a scheme and a path."""
    if not isinstance(table, dict):
        return None
    for key, value in table.items():
        if key.partition("://")[2 if "://" in key else 0].partition("/")[0].casefold() == host:
            return value
    return None


def _from_entry(entry: dict[str, Any], file: Path) -> Login | None:
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Login(identity_token=token)
    if not isinstance(auth, str) or not auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except ValueError:
        user, colon, password = "", "", ""
    if not colon:
        raise BaseProblem(f"{file} has an 'auth' that is none", hint="log in again: docker login")
    return Login(user=user, password=password)


def _from_helper(helper: str, host: str, environment: Mapping[str, str]) -> Login | None:
    """Asks a helper. It ends with 1 where it knows nothing of the host."""
    command = f"docker-credential-{helper}"
    try:
        done = process.run([command, "get"], environment=environment, text=host, seconds=HELPER_SECONDS)
    except BuildFailed as error:
        hint = "docker's config.json names it; install it, or log in without it"
        raise BaseProblem(str(error), hint=hint) from None
    if done.code:
        return None
    try:
        data = json.loads(done.stdout)
        user, secret = data["Username"], data["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BaseProblem(f"{command} says nothing that can be read", hint=f"see: {command} get") from None
    if not isinstance(user, str) or not isinstance(secret, str):
        return None
    return Login(identity_token=secret) if user == _TOKEN_USER else Login(user=user, password=secret)

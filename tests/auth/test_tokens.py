"""Tokens of a company's login: what is accepted, and everything that must not be."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.auth import signers as signers_room
from app.auth.authenticate import Authenticator
from app.auth.brake import Brake
from app.auth.digest import digest
from app.auth.errors import BadToken, SignerUnknown
from app.auth.signers import Signers, Unreadable, read_keys
from app.auth.tokens import LONGEST, Tokens
from app.auth.users import with_user
from app.config.server import JwtConfig
from app.domain.errors import Forbidden, QuotaExceeded, Unauthenticated, Unavailable
from app.domain.principal import USUAL_SCOPES, Principal, Scope
from tests.fixtures.issuer import AUDIENCE, ISSUER, Issuer, new_key, public_jwk

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Login:
    """An issuer whose keys are read from memory, and what verifies its tokens."""

    def __init__(self, issuer: Issuer, **config: Any) -> None:
        self.issuer = issuer
        self.clock = Clock()
        self.reads = 0
        self.is_down = False
        given = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "https://login.example.com/jwks", **config}
        self.signers = Signers(self._read, "here", clock=self.clock)
        self.tokens = Tokens(JwtConfig.model_validate(given), self.signers)

    async def _read(self) -> bytes:
        self.reads += 1
        if self.is_down:
            raise Unreadable("down")
        return self.issuer.jwks

    def find(self, token: str) -> Principal:
        return self.tokens.find(token, digest(token))


async def login(algorithm: str = "ES256", **config: Any) -> Login:
    made = Login(Issuer(algorithm), **config)
    await made.signers.refresh()
    return made


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_token_speaks_for_its_user_under_the_issuer(algorithm: str) -> None:
    made = await login(algorithm)
    principal = made.find(made.issuer.token())
    assert (principal.id, principal.effective_user, principal.scopes) == (ISSUER, "ann", USUAL_SCOPES)
    assert not principal.may_see(ISSUER, "ben")
    assert principal.may_see(ISSUER, "ann")


async def test_it_never_names_another_user() -> None:
    made = await login(scopes_claim="scope")
    for scope in ("chat read", "admin"):
        principal = made.find(made.issuer.token(scope=scope))
        assert with_user(principal, "ann").effective_user == "ann"
        with pytest.raises(Forbidden) as refused:
            with_user(principal, "ben")
        assert refused.value.reason == "forbidden_user"
        with pytest.raises(Forbidden):
            with_user(with_user(principal, "ann"), "ben")


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"iss": "https://evil.example"}, "another issuer"),
        ({"iss": f"{ISSUER}/"}, "another issuer"),
        ({"iss": None}, "no iss"),
        ({"aud": "another"}, "aud"),
        ({"aud": ["another", "third"]}, "aud"),
        ({"aud": None}, "no aud"),
        ({"exp": int(time.time()) - 120}, "expired"),
        ({"exp": None}, "no exp"),
        ({"nbf": int(time.time()) + 86_400}, "not valid yet"),
        ({"iat": int(time.time()) + 86_400}, "not valid yet"),
        ({"sub": None}, "no sub"),
        ({"sub": ""}, "no name"),
        ({"sub": "x" * 257}, "no name"),
    ],
)
async def test_what_the_issuer_signed_and_is_not_good_here(claims: dict[str, Any], word: str) -> None:
    made = await login()
    with pytest.raises(Unauthenticated, match=word) as refused:
        made.find(made.issuer.token(**claims))
    assert not isinstance(refused.value, BadToken)


async def test_a_minute_between_the_clocks_is_forgiven() -> None:
    made, now = await login(), int(time.time())
    near: list[dict[str, Any]] = [{"exp": now - 50}, {"nbf": now + 50}, {"iat": now + 50}]
    for claims in near:
        assert made.find(made.issuer.token(**claims)).user_id == "ann"
    assert made.find(made.issuer.token(aud=["other", AUDIENCE])).user_id == "ann"


def forged(made: Login, algorithm: str, sign: Any) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 600}
    signed = f"{part({'alg': algorithm, 'kid': 'first', 'typ': 'JWT'})}.{part(body)}"
    return f"{signed}.{base64.urlsafe_b64encode(sign(signed.encode())).rstrip(b'=').decode()}"


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "PS256", "ES256K", ""])
async def test_other_algorithms_are_refused(algorithm: str) -> None:
    made = await login()
    for signature in (b"", b"x" * 64):
        with pytest.raises(BadToken):
            made.find(forged(made, algorithm, lambda _, signature=signature: signature))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_the_public_key_is_no_secret_of_an_hmac(algorithm: str) -> None:
    import hashlib
    import hmac

    made = await login(algorithm)
    public = made.issuer.keys["first"][0].public_key()
    for shown in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        made.issuer.jwks,
    ):
        with pytest.raises(BadToken):
            made.find(forged(made, "HS256", lambda signed, shown=shown: hmac.digest(shown, signed, hashlib.sha256)))


async def test_a_key_is_for_its_own_algorithm() -> None:
    made = await login("ES256")
    with pytest.raises(BadToken):
        made.find(forged(made, "RS256", lambda _: b"x" * 256))
    with pytest.raises(BadToken):
        made.find(forged(made, "ES256", lambda _: b"\0" * 64))


async def test_another_ones_signature_is_wrong() -> None:
    made, other = await login(), Issuer("ES256")
    with pytest.raises(BadToken, match="signature"):
        made.find(other.token())
    token = made.issuer.token()
    head, _, signature = token.split(".")
    body = base64.urlsafe_b64encode(json.dumps({"iss": ISSUER, "sub": "boss"}).encode()).rstrip(b"=").decode()
    with pytest.raises(BadToken, match="signature"):
        made.find(f"{head}.{body}.{signature}")


@pytest.mark.parametrize(
    "token", ["..", "a.b.c", "e30.e30.e30", "x" * 20 + "." * 2, "." * 3000, "ü.ü.ü", "e30.e30.e30.e30"]
)
async def test_what_is_no_token_is_refused(token: str) -> None:
    made = await login()
    with pytest.raises(BadToken):
        made.find(token)


async def test_a_huge_token_is_refused_before_it_is_read() -> None:
    made = await login()
    token = made.issuer.token(more="x" * LONGEST)
    began = time.perf_counter()
    with pytest.raises(BadToken, match="longer"):
        made.find(token)
    assert time.perf_counter() - began < 0.05
    assert made.find(made.issuer.token(more="x" * (LONGEST // 2))).user_id == "ann"


async def test_a_nested_token_is_no_fault_of_ours() -> None:
    made = await login()
    key, algorithm = made.issuer.keys["first"]
    nested = b'{"a":' * 3000 + b"1" + b"}" * 3000
    token = jwt.api_jws.encode(nested, key, algorithm, headers={"kid": "first"})
    with pytest.raises(Unauthenticated):
        made.find(token)


# -- scopes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ("chat read", {Scope.CHAT, Scope.READ}),
        (["memory", "openid", 7], {Scope.MEMORY}),
        ("openid profile server", set()),
        (None, set()),
        (42, set()),
        ("admin", {Scope.ADMIN, Scope.SERVER}),
    ],
)
async def test_scopes_are_the_words_of_the_claim_that_are_ours(claim: Any, scopes: set[Scope]) -> None:
    made = await login(scopes_claim="scope")
    assert made.find(made.issuer.token(scope=claim)).scopes == scopes


async def test_an_administrator_sees_all_of_the_issuers() -> None:
    made = await login(scopes_claim="scope", user_claim="email")
    admin = made.find(made.issuer.token(scope="admin", email="boss@example.com"))
    assert admin.may_see(ISSUER, "ann")
    assert admin.effective_user == "boss@example.com"


# -- the issuer's keys -----------------------------------------------------------------------------------------------


async def test_a_new_key_is_fetched_when_a_token_names_it_and_a_removed_one_no_longer_counts() -> None:
    made = await login()
    old = made.issuer.token()
    made.find(old)
    made.issuer.add("second", "RS256")
    new = made.issuer.token()
    with pytest.raises(Unauthenticated, match="does not publish"):
        made.find(new)  # the keys were read a moment ago
    made.clock.now += 11
    with pytest.raises(SignerUnknown):
        made.find(new)
    await made.signers.refresh()
    assert made.find(new).user_id == "ann"
    assert made.find(old).user_id == "ann"
    made.issuer.remove("first")
    made.clock.now += 11
    await made.signers.refresh()
    with pytest.raises(Unauthenticated):
        made.find(old)


async def test_tokens_with_unknown_keys_do_not_make_the_server_fetch_again_and_again() -> None:
    made = await login()
    for number in range(50):
        token = made.issuer.token(headers={"kid": f"unknown-{number}"})
        with pytest.raises(Unauthenticated):
            made.find(token)
        await made.signers.refresh()
    assert made.reads == 1
    made.clock.now += signers_room.PAUSE_SECONDS
    with pytest.raises(SignerUnknown):
        made.find(made.issuer.token(headers={"kid": "unknown"}))


async def test_while_the_keys_cannot_be_read_those_before_stay_in_use() -> None:
    made = await login()
    made.is_down = True
    for _ in range(3):
        made.clock.now += 400
        await made.signers.refresh()
        assert made.find(made.issuer.token()).user_id == "ann"
    assert made.reads == 4


async def test_before_the_keys_were_ever_read_it_is_the_servers_fault() -> None:
    made = Login(Issuer())
    made.is_down = True
    token = made.issuer.token()
    with pytest.raises(SignerUnknown):
        made.find(token)
    await made.signers.refresh()
    with pytest.raises(Unavailable) as refused:
        made.find(token)
    assert refused.value.reason == "issuer_unavailable"
    made.is_down = False
    made.clock.now += 11
    await made.signers.refresh()
    assert made.find(token).user_id == "ann"


async def test_a_token_without_the_id_of_a_key_is_the_only_keys() -> None:
    made = await login()
    token = jwt.encode(
        {"iss": ISSUER, "aud": AUDIENCE, "sub": "ann", "exp": int(time.time()) + 60},
        made.issuer.keys["first"][0],
        "ES256",
    )
    assert made.find(token).user_id == "ann"
    made.issuer.add("second")
    made.clock.now += 11
    await made.signers.refresh()
    with pytest.raises(Unauthenticated):
        made.find(token)


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"keys": 7}',
        b'{"keys": []}',
        b'{"keys": [7, null, {"kty": "oct", "k": "AAAA"}]}',
    ],
)
def test_what_is_no_set_of_keys(given: bytes) -> None:
    with pytest.raises(Unreadable):
        read_keys(given)


def test_keys_that_are_too_small_secret_or_for_something_else_are_passed_over() -> None:
    good, small = new_key("RS256"), new_key("RS256", bits=1024)
    entries = [
        public_jwk(small, "RS256", "small"),
        public_jwk(good, "RS256", "encrypts", use="enc"),
        public_jwk(good, "RS256", "private", d="AQAB"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret", "alg": "HS256"},
        public_jwk(good, "RS256", "good", use="sig", alg="RS512"),
    ]
    assert set(read_keys(json.dumps({"keys": entries}).encode())) == {("good", "RS512")}


# -- with the authenticator ------------------------------------------------------------------------------------------


async def test_forged_tokens_count_as_guesses_and_expired_ones_do_not() -> None:
    made, other = await login(), Issuer()
    brake = Brake(allowed=3, longest_seconds=60)
    authenticator = Authenticator({}, brake, tokens=made.tokens)
    assert not authenticator.is_open
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            authenticator.authenticate(f"Bearer {made.issuer.token(exp=int(time.time()) - 100)}", "192.0.2.1")
    assert authenticator.authenticate(f"Bearer {made.issuer.token()}", "192.0.2.1").id == ISSUER
    for _ in range(4):
        with pytest.raises(Unauthenticated):
            authenticator.authenticate(f"Bearer {other.token()}", "192.0.2.2")
    with pytest.raises(QuotaExceeded):
        authenticator.authenticate(f"Bearer {other.token()}", "192.0.2.2")
    assert authenticator.find(ISSUER) is not None


async def test_a_verified_token_costs_no_second_signature_and_ends_all_the_same() -> None:
    made = await login()
    now = time.time()
    token = made.issuer.token(exp=int(now) + 100)
    made.find(token)
    made.signers._keys = {}  # whatever needs a key now fails
    made.tokens._clock = lambda: now + 159
    assert made.find(token).user_id == "ann"
    made.tokens._clock = lambda: now + 161
    with pytest.raises(Unauthenticated):
        made.find(token)

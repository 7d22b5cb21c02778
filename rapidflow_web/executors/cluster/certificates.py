"""The installation's own CA: what the server and its relays know each other by.

All of it is in the folder `cluster` of the data folder, each generation of keys in a folder with its number.
A rotation makes the next generation; for its time two are trusted. `state.json` says which, and with which
the server connects. Each change of it is one write, so a rotation that was cut short goes on where it was.

A CA signs the two certificates of its generation, and its own key is then forgotten: nothing else can ever be
signed by it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rapidflow_web import private_files
from rapidflow_web.errors import SettingsError
from rapidflow_web.executors.cluster.inventory import Certificates

FOLDER = "cluster"
_STATE = "state.json"
_LIFE = timedelta(days=3650)
_SKEW = timedelta(days=1)
"""How far a machine's clock may be behind."""
_CA, _RELAY, _SERVER = "ca", "relay", "server"


@dataclass(frozen=True, slots=True)
class State:
    """The generations that the server trusts, the oldest first, and the one that it connects with."""

    trusted: tuple[int, ...]
    own: int

    @property
    def newest(self) -> int:
        """The generation of the relays' certificate."""
        return self.trusted[-1]

    @property
    def trusted_by_relays(self) -> tuple[int, ...]:
        """The generations that relays let in: the server's own, and the one that it is about to get."""
        return tuple(number for number in self.trusted if number >= self.own)


@dataclass(frozen=True, slots=True)
class RelayKeys:
    """What a relay is given, each in PEM: whom it lets in, and who it is."""

    ca: bytes
    certificate: bytes
    key: bytes


class Keys:
    """The keys below the folder `cluster` of a data folder. All but `state` may raise `OSError`."""

    def __init__(self, data: Path) -> None:
        self._folder = data / FOLDER

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Keeps every other process that changes the keys away. Raises `SettingsError`."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        with open(self._folder / "lock", "w", opener=private_files.opener) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SettingsError("another 'rapidflow cluster' command is at work; wait for it") from None
            yield

    def state(self) -> State | None:
        """None before `make`. Raises `SettingsError` where the state can't be read."""
        path = self._folder / _STATE
        try:
            stored = json.loads(path.read_bytes())
            return State(tuple(map(int, stored["trusted"])), int(stored["own"]))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(
                f"{path} can't be read: {error.strerror}; it must belong to the user of the server"
            ) from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise SettingsError(
                f"{path} is damaged: {error}; remove {self._folder}, and run 'rapidflow cluster init' again"
            ) from error

    def make(self) -> State:
        """The state, with the first generation where there is none."""
        state = self.state()
        if state is None:
            state = State((1,), 1)
            self._make_generation(1)
            self._store(state)
        return state

    def begin_rotation(self) -> State:
        """Makes the next generation, trusted beside the present one. One that has begun goes on."""
        state = self.make()
        if len(state.trusted) == 1:
            new = state.own + 1
            self._make_generation(new)
            state = State((state.own, new), state.own)
            self._store(state)
        return state

    def use_newest(self) -> State:
        """Lets the server connect with the new keys; it still knows relays with old ones."""
        state = self.make()
        state = State(state.trusted, state.newest)
        self._store(state)
        return state

    def end_rotation(self) -> State:
        """Trusts the new keys alone, and removes all others."""
        state = self.make()
        state = State((state.newest,), state.newest)
        self._store(state)
        for path in self._folder.iterdir():
            if path.name.isdigit() and int(path.name) != state.own:
                shutil.rmtree(path)
        return state

    def certificates(self, state: State) -> Certificates:
        """The files that the server connects with."""
        own = self._folder / str(state.own)
        return Certificates(
            self._trusted(state.trusted), own / "server.pem", own / "server-key.pem", of_relays=True
        )

    def relay(self, state: State) -> RelayKeys:
        """What relays get."""
        folder = self._folder / str(state.newest)
        return RelayKeys(
            self._trusted(state.trusted_by_relays).read_bytes(),
            (folder / "relay.pem").read_bytes(),
            (folder / "relay-key.pem").read_bytes(),
        )

    def days_left(self, state: State) -> int:
        """The days until the first certificate that is in use expires."""
        folder = self._folder / str(state.own)
        ends = [
            x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes()).not_valid_after_utc
            for name in (_CA, _RELAY, _SERVER)
        ]
        return (min(ends) - datetime.now(UTC)).days

    def remove(self) -> None:
        """Forgets all keys."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _trusted(self, numbers: tuple[int, ...]) -> Path:
        """The file with the CAs of some generations."""
        newest = self._folder / str(numbers[-1])
        if len(numbers) == 1:
            return newest / "ca.pem"
        return newest / "ca-and-before.pem"

    def _make_generation(self, number: int) -> None:
        folder = self._folder / str(number)
        for made in (self._folder, folder):
            made.mkdir(mode=0o700, exist_ok=True)
        ca_key = ec.generate_private_key(ec.SECP256R1())
        ca = _signed(_CA, number, ca_key, None, ca_key)
        _write(folder, _CA, ca, None)
        for name in (_RELAY, _SERVER):
            key = ec.generate_private_key(ec.SECP256R1())
            _write(folder, name, _signed(name, number, key, ca, ca_key), key)
        before = self._folder / str(number - 1) / "ca.pem"
        if before.exists():
            both = before.read_bytes() + _pem(ca)
            private_files.write_atomically(folder / "ca-and-before.pem", both)

    def _store(self, state: State) -> None:
        stored = {"trusted": state.trusted, "own": state.own}
        private_files.write_atomically(self._folder / _STATE, json.dumps(stored).encode())


def _signed(
    name: str,
    generation: int,
    key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate | None,
    ca_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"rapidflow {name} {generation}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.subject if ca is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
        .add_extension(
            x509.BasicConstraints(ca=ca is None, path_length=0 if ca is None else None), critical=True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(signs=ca is None), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if ca is not None:
        # A relay's key opens no other relay, and the server's key makes no relay.
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if name == _RELAY else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
    return builder.sign(ca_key, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write(
    folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey | None
) -> None:
    if key is not None:
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        private_files.write_atomically(folder / f"{name}-key.pem", pem)
    private_files.write_atomically(folder / f"{name}.pem", _pem(certificate))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)

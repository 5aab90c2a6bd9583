"""What Maven says, as one sentence; and a Java trust store made of the system's certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12

from cli.local import maven
from cli.local.failures import DiskFull, FetchFailed, ToolMissing

PREFIX = "[ERROR] Failed to execute goal plugin:3.8.1:copy (x) on project y: "


@pytest.mark.parametrize(
    ("output", "reason", "again"),
    [
        (
            "Could not transfer artifact a:b:1: Checksum validation failed, expected 1 but is 2 -> [Help 1]",
            "Checksum validation failed, expected 1 but is 2",
            True,
        ),
        ("Could not transfer artifact a:b:1: Connect timed out -> [Help 1]", "Connect timed out", False),
        ("Unknown host repo: Temporary failure in name resolution", "Temporary failure", False),
        ("a.jar: PKIX path building failed: unable to find valid path", "does not trust", False),
    ],
)
def test_a_failure_is_one_sentence(tmp_path: Path, output: str, reason: str, again: bool) -> None:
    """The reason, what to do, where the details are; and whether a fresh start may heal it."""
    failure = maven._explained(PREFIX + output, tmp_path, tmp_path / "fetch.log")
    assert isinstance(failure, FetchFailed)
    assert reason in str(failure)
    assert "try again" in str(failure)
    assert str(tmp_path / "fetch.log") in str(failure)
    assert bool(failure.facts.get("again")) is again


def test_a_full_disk_is_told_from_a_broken_download(tmp_path: Path) -> None:
    """Trying again would not help."""
    failure = maven._explained(PREFIX + "No space left on device", tmp_path, tmp_path / "fetch.log")
    assert isinstance(failure, DiskFull)


def test_no_maven_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the package manager, or without by Docker."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolMissing, match=r"Maven \(mvn\) is not installed.*apt install maven.*docker compose"
    ):
        maven.copy_servers(tmp_path / "pom.xml", tmp_path, "linux-amd64", tmp_path / "log")


def certificate(name: str) -> bytes:
    """A self-signed certificate as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime(2026, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_trust_store_holds_every_certificate_of_the_bundle(tmp_path: Path) -> None:
    """Behind a proxy that signs TLS anew, Java trusts what the system trusts."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificate("one") + certificate("two"))
    store = maven.trust_store(bundle, tmp_path / "trust.p12")
    held = pkcs12.load_pkcs12(store.read_bytes(), None).additional_certs
    assert {each.certificate.subject.rfc4514_string() for each in held} == {"CN=one", "CN=two"}

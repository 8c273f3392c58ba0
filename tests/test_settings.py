"""Settings: what is wrong is named, and what is secret is not shown."""

import pytest

from postroom.errors import ConfigurationError
from postroom.settings import Settings


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POSTROOM_WINDOW", "0"),
        ("POSTROOM_WINDOW", "many"),
        ("POSTROOM_GRACE", "30"),
        ("POSTROOM_GRACE", "inf"),
        ("POSTROOM_KEEP_FAILED_DAYS", "nan"),
        ("POSTROOM_ALLOW_DOMAINS", " , "),
        ("POSTROOM_REDIS_URL", "foo://127.0.0.1"),
        ("POSTROOM_REDIS_URL", "unix:///run/redis.sock"),
        ("POSTROOM_REDIS_URL", "redis://127.0.0.1/first"),
        ("POSTROOM_REDIS_URL", "redis://127.0.0.1/0?decode_responses=True"),
        ("POSTROOM_WINDO", "3"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        Settings.from_environment({variable: value})


@pytest.mark.parametrize("url", ["redis://h", "redis://:pass@h:6380/3", "rediss://user:p%40ss@h/0?ssl_ca_certs=ca.pem"])
def test_an_address_of_redis_is_taken(url: str) -> None:
    assert Settings.from_environment({"POSTROOM_REDIS_URL": url}).redis_url == url


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_environment({"POSTROOM_WINDOW": "", "POSTROOM_ALLOW_DOMAINS": ""}) == Settings()


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_environment(
        {"SENDGRID_API_KEY": "SG.secret", "POSTROOM_REDIS_URL": "redis://user:hunter2@127.0.0.1:6379/0"}
    )
    for shown in (repr(settings), str(settings)):
        assert "SG.secret" not in shown
        assert "hunter2" not in shown
        assert "user" in shown

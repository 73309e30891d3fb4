"""Which addresses only this machine can reach."""

import pytest

from app.security import UnsafeBind, check_bind, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_is_bound_without_keys(host):
    check_bind(host, auth=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.x"])
def test_any_other_address_needs_keys(host):
    assert not is_loopback(host)
    with pytest.raises(UnsafeBind, match="--no-auth"):
        check_bind(host, auth=False)
    check_bind(host, auth=True)

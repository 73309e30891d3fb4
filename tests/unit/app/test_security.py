"""Which addresses only this machine can reach."""

import pytest

from app.security import UnsafeBind, check_bind, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_loopback_is_bound_without_a_question(host):
    check_bind(host, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.x"])
def test_any_other_address_must_be_asked_for(host):
    assert not is_loopback(host)
    with pytest.raises(UnsafeBind, match="--insecure"):
        check_bind(host, insecure=False)
    check_bind(host, insecure=True)

"""The model hub is asked only when it answers."""

import http.server
import threading

import huggingface_hub.constants as hub_constants
import pytest

from models import hub


@pytest.fixture
def server():
    """Answers every request with 405, as a hub does that has other things to say."""
    listening = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    listening.RequestHandlerClass.log_message = lambda *_: None
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_any_answer_will_do(server):
    assert hub.reachable(server)


def test_a_closed_port_does_not_answer():
    assert not hub.reachable("http://127.0.0.1:1")


def test_no_url_does_not_answer():
    assert not hub.reachable("")


@pytest.mark.parametrize("answers", [True, False])
def test_without_an_answer_only_the_cache_is_asked(monkeypatch, answers):
    monkeypatch.setattr(hub, "reachable", lambda url: answers)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)

    with hub.cache_only_if_unreachable():
        assert hub_constants.HF_HUB_OFFLINE is not answers

    assert hub_constants.HF_HUB_OFFLINE is False


def test_who_asked_for_no_network_gets_none(monkeypatch):
    def never(url):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(hub, "reachable", never)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)

    with hub.cache_only_if_unreachable():
        assert hub_constants.HF_HUB_OFFLINE

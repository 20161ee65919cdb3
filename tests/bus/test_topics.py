"""One table says where every message goes."""

import inspect
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import ConfigError
from bus.messages import Message, Quote
from bus.topics import LANE_OF, TOPIC_OF, TOPICS, Lane, subject_of
from bus.wire import Names, servers, shown
from tests.harness.messages import KINDS, struct_of


def test_the_table_covers_the_union_exactly():
    assert set(TOPIC_OF) == set(LANE_OF) == set(KINDS)
    assert set(TOPIC_OF.values()) == set(TOPICS)
    assert len(TOPICS) == len(set(TOPICS))


def test_every_message_type_is_in_the_union():
    assert set(Message.__subclasses__()) == set(KINDS)
    assert len({kind.__name__ for kind in KINDS}) == len(KINDS)


def test_only_quotes_may_be_passed_over():
    assert {kind for kind, lane in LANE_OF.items() if lane is Lane.QUOTES} == {Quote}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_type_documents_its_producer(kind):
    text = inspect.getdoc(kind) or ""
    told = re.search(r"\b(?:[Pp]roduced by|By) (?:the )?(.+?)(?:\.|;|,|$)", " ".join(text.split()))
    if told is None:
        assert kind.__name__ == "RunStarted", f"{kind.__name__} does not say who produces it"
        assert "first message of every journal" in text
    else:
        rooms = ("adapters", "core", "shells", "strategies", "risk", "models", "daemon", "operators", "operator")
        assert any(room in told[1] for room in rooms), told[1]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_every_subject_is_one_that_a_transport_accepts(kind, data):
    message = data.draw(struct_of(kind))
    subject = Names.of("run").subject(message)
    parts = subject.split(".")
    assert parts[:2] == ["run", TOPIC_OF[kind]]
    assert len(parts) == 3
    assert parts[2]
    assert parts[2].isascii()
    assert not set(parts[2]) & set(" \t\r\n*>$")


def test_a_plain_symbol_gives_the_documented_subject():
    quote = Quote(symbol="EURUSD", bid_e5=1, ask_e5=2, ts_event_ns=1, ts_init_ns=1)
    assert subject_of(quote) == Names.of("plimsoll").subject(quote) == "plimsoll.quote.EURUSD"


def test_namespaces_that_differ_never_share_a_subject():
    names = ["plimsoll", "Plimsoll", "a.b", "a_b", "a b", "a*", "a>", "ä", "a", "$JS", "a\r\nPUB x"]
    made = [Names.of(name) for name in names]
    assert len({each.prefix for each in made}) == len(names)
    for each in made:
        assert not set(each.stream) & set(">*. /\\\t\r\n$")
        assert len(each.fact_subjects) == len(TOPICS) - 1
        assert each.ask not in each.fact_subjects
    for wrong in ("", "x" * 65):
        with pytest.raises(ConfigError, match="1 to 64 characters"):
            Names.of(wrong)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222"),
        ("nats://user:secret@host:4222", "nats://host:4222"),
        ("tls://secret@host", "tls://host"),
        ("nats://user:sec/re@t@host:1/secret?secret#secret", "nats://host:1"),
        ("user:secret@host", "nats://host"),
        ("nats://u:secret@a:1,nats://u:secret@b:2", "nats://b:2"),
        ("nats://a:1, b:2", "nats://a:1,nats://b:2"),
        ("secret://user:secret@host", "nats://host"),
    ],
)
def test_addresses_are_shown_without_secrets(url, text):
    assert shown(url) == text
    assert "secret" not in shown(url)


@pytest.mark.parametrize(
    "url", ["", " , ", "nats://", "http://host", "nats://host:99999", "nats://host:0", "nats://u:pa/secret@host", "nats://u:p@secret@host",
            "nats://host:secret", "a b"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_an_example(url):
    with pytest.raises(ConfigError, match="nats://HOST:PORT") as told:
        servers(url)
    assert "u:p" not in str(told.value)


def test_several_servers_are_separated_by_commas():
    assert servers("nats://a:1, b:2,[::1]:4222/") == ["nats://a:1", "b:2", "[::1]:4222"]

"""One file configures everything; a mistake in it is one line that says what to write instead."""

import json
import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import ConfigError
from daemon import config as module
from daemon.config import explain, explain_json, load, mask_url, state_dir, store_url
from daemon.settings import NOT_IN_FILE, Config


@pytest.fixture(autouse=True)
def empty_surroundings(monkeypatch, tmp_path):
    """No file and no variable of the person who runs the tests."""
    for name in ("PLIMSOLL_PROFILE", "PLIMSOLL_STORE_URL", "PLIMSOLL_BUS_URL", "PLIMSOLL_STATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "plimsoll.toml"
        path.write_text(text)
        return path

    return write


def settings_of(config):
    return {key: value for key, value in msgspec.to_builtins(config).items() if key not in NOT_IN_FILE}


def test_without_a_file_everything_has_its_default():
    config = load()

    assert settings_of(config) == settings_of(Config())
    assert (config.account.balance_units, config.forecast.levels_ppm) == (1_000_000, (900_000, 100_000))
    assert config.execution.speed is None
    assert config.instrument("usdjpy").digits == 3


def test_the_file_the_profile_the_environment_and_the_command_line_are_laid_over_each_other(write, monkeypatch):
    path = write(
        "[account]\nbalance = 1\nleverage = 10\n[web]\nport = 1\n[bus]\nurl = 'nats://file'\n"
        "[profile.prod.account]\nbalance = 2\n[profile.prod.web]\nport = 2\n[profile.dev.web]\nport = 3\n"
    )
    monkeypatch.setenv("PLIMSOLL_BUS_URL", "nats://variable")

    config = load(path, "prod", {"web.port": 4, "web.host": None})

    assert (config.account.balance, config.account.leverage, config.web.port) == (2, 10, 4)
    assert (config.web.host, config.bus.url) == ("127.0.0.1", "nats://variable")
    sources = {key: value["source"] for key, value in explain_json(config)["values"].items()}
    assert sources["account.leverage"] == str(path)
    assert sources["account.balance"] == f"{path} [profile.prod]"
    assert sources["web.port"] == "command line"
    assert sources["bus.url"] == "environment PLIMSOLL_BUS_URL"
    assert sources["web.host"] == "default"


def test_what_is_trained_can_be_chosen():
    assert load(overrides={"models.architectures": ("mlp", "lasso")}).models.architectures == ("mlp", "lasso")


def test_the_profile_comes_from_the_environment_where_none_is_named(write, monkeypatch):
    path = write("[profile.staging.web]\nport = 9000\n")
    monkeypatch.setenv("PLIMSOLL_PROFILE", "staging")

    assert load(path).web.port == 9000
    assert load(path, "dev").web.port == 8080


def test_a_file_in_the_working_directory_is_found(monkeypatch, tmp_path):
    (tmp_path / "work" / "plimsoll.toml").write_text("[models]\nseed = 11\n")

    assert load().models.seed == 11


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[web]\nprot = 1", "web.prot is unknown; did you mean port?"),
        ("[wep]\nport = 1", "wep is unknown; did you mean web?"),
        ("[web]\nzzz = 1", "web.zzz is unknown; [web] knows enabled, host, port"),
        ("profile_ = 1", "profile_ is unknown"),
        ("[web]\nport = '8080'", 'web.port = "8080": expected int, got str; the default is 8080'),
        ("[web]\nport = 70000", "web.port = 70000: expected int <= 65535; the default is 8080"),
        ("[web]\nport = true", "web.port = true: expected int, got bool"),
        ("web = 1", "web = 1: expected a table; write [web]"),
        ("[account]\ncurrency = 'usd'", 'account.currency = "usd": expected str matching regex'),
        ("[account]\nbalance = 0", "account.balance = 0: expected int >= 1"),
        ("[data]\ntrain_pct = 70", "data.train_pct + calibrate_pct + trade_pct = 110; they must add up to 100"),
        (
            "[data]\nlearn_until = '2021-01-01'",
            "data.learn_until and calibrate_until go together; write both",
        ),
        ("[data]\nsince = 'may'", "data.since = 'may' is no day; write one such as 2021-01-01"),
        (
            "[data]\nlearn_until = '2021-01-01'\ncalibrate_until = '2021-01-01T00:00+02:00'",
            "data.calibrate_until = '2021-01-01T00:00+02:00'; it must come after learn_until",
        ),
        (
            "[data]\nsince = '2022-01-01'\nlearn_until = '2021-01-01'\ncalibrate_until = '2023-01-01'",
            "data.learn_until = '2021-01-01'; it must come after since",
        ),
        ("[forecast]\nlevels = [0.2, 0.9]", "forecast.levels = [0.2, 0.9]; write each once, the widest first"),
        ("[forecast]\nlevels = [nan]", "forecast.levels = [nan]: not a finite number"),
        ("[forecast]\nlevels = [1.5]", "forecast.levels = [1.5]: expected float < 1.0 at element [0]"),
        ("[forecast]\nhorizons = []", "forecast.horizons = []: expected array of length >= 1"),
        ("[forecast]\ndevice = 'gpu'", 'forecast.device = "gpu": expected one of auto, cpu, cuda'),
        ("[forecast]\ndevice = 'cuda'", "forecast.device = 'cuda' with worker = 'thread'; write worker = \"process\""),
        ("[forecast]\ngather_us = -1", "forecast.gather_us = -1: expected int >= 0"),
        ("[forecast]\nmodel_latency_ms = 5000", "forecast.model_latency_ms = 5000; every answer would miss"),
        ("[execution]\npace = '0x'", "execution.pace = '0x' is no pace"),
        ("[execution]\npace = 'fast'", "execution.pace = 'fast' is no pace; write max"),
        ("[exchange]\nreject_pct = 101", "exchange.reject_pct = 101; write a whole number from 0 to 100"),
        ("[risk]\ndaily_loss_pct_e2 = -1", "plimsoll.toml: risk.daily_loss_pct_e2 = -1: must lie between 0 and 10000"),
        ("[sizing]\nmethod = 'kely'", "plimsoll.toml: sizing.method = 'kely': no such method; write one of fixed"),
        (
            "[models]\narchitectures = ['rigde']",
            "models.architectures = ['rigde']: 'rigde' is not known; did you mean ridge",
        ),
        (
            "[models]\narchitectures = ['autoencoder']",
            "models.architectures = ['autoencoder']: nothing there forecasts",
        ),
        ("[models]\narchitectures = 'ridge'", 'models.architectures = "ridge": expected array, got str'),
        ("[strategy.params]\nx = [1]", "strategy.params = { x = [1] }: expected"),
        ("[instruments.EURUSD]\ndigit = 4", "instruments.EURUSD.digit is unknown; did you mean digits?"),
        ("[instruments.EURUSD]\ndigits = 9", "instruments.EURUSD.digits = 9; prices are kept to 5 decimals"),
        ("[instruments.DE40]\ndigits = 1", "instruments.DE40: not a six-letter pair; write its base and quote"),
        ("[instruments]\nEURUSD = 1", "instruments.EURUSD: expected a table"),
        ("[profile.prd.web]\nport = 1", "[profile.prd] is unknown; did you mean prod?"),
        ("[profile.prod.web]\nprot = 1", "[profile.prod]: web.prot is unknown; did you mean port?"),
        ("[alerts]\noff = ['driff']", "alerts.off = ['driff']: no such rule; did you mean drift?"),
        ("[alerts]\nrejected_pct = 100", "alerts.rejected_pct = 100: must lie between 0 and 99"),
        ("[alerts]\nslippage_from = 99", "alerts.slippage_from = 99: more than alerts.slippage_fills = 50"),
        ("[alerts.cost]\nfewest = 99", "alerts.cost.fewest = 99: more than alerts.cost.fills = 20"),
        ("[alerts.slak]\nenabled = true", "alerts.slak is unknown; did you mean slack?"),
        ("[alerts.slack]\nurl = 'https://x'", "alerts.slack.url is unknown"),
        ("[alerts.email]\nsecurity = 'ssl'", 'alerts.email.security = "ssl": expected one of starttls, tls, none'),
        ("[alerts.email]\nrecipients = ['ada']", "alerts.email.recipients"),
        ("[alerts.log]\nleast = 'warn'", 'alerts.log.least = "warn": expected one of info, warning, critical'),
        ("[web\nport = 1", "is not TOML"),
    ],
)
def test_a_mistake_is_one_line_with_the_key_the_reason_and_a_way_out(write, text, says):
    path = write(text)

    with pytest.raises(ConfigError) as caught:
        load(path)

    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_section_refuses_a_key_it_does_not_know(write):
    for field in msgspec.structs.fields(Config):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            with pytest.raises(ConfigError, match=rf"{field.name}\.no_such_key is unknown"):
                load(write(f"[{field.name}]\nno_such_key = 1\n"))


def test_every_number_refuses_to_be_a_word_or_infinite(write):
    for key, (value, _) in module.flatten(Config()).items():
        section, _, name = key.rpartition(".")
        if isinstance(value, int | float):
            for wrong in ("'word'", "inf", "nan"):
                with pytest.raises(ConfigError, match=f"^.*{key}"):
                    load(write(f"[{section}]\n{name} = {wrong}\n"))


def test_a_mistake_on_the_command_line_does_not_blame_the_file(write):
    with pytest.raises(ConfigError, match=r"^command line: web\.port = 99999"):
        load(write("[web]\nport = 1"), overrides={"web.port": 99_999})


def test_an_unknown_profile_and_a_missing_file_say_what_there_is(tmp_path):
    with pytest.raises(ConfigError, match="did you mean staging"):
        load(profile="stagin")
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "no.toml")


def test_an_instrument_keeps_the_defaults_of_its_pair(write):
    config = load(
        write(
            "[instruments.usdjpy]\ncommission_per_million_e2 = 2500\n"
            "[instruments.DE40]\nbase = 'DE40'\nquote = 'EUR'\ndigits = 1\npip_e5 = 100000\n"
        )
    )

    yen = config.instrument("USDJPY")
    assert (yen.digits, yen.pip_e5, yen.commission_per_million_e2) == (3, 1_000, 2_500)
    assert config.instrument("DE40").quote == "EUR"
    with pytest.raises(ConfigError, match="not a six-letter pair"):
        config.instrument("UK100")


def test_what_config_show_prints_loads_again_as_the_same(write, tmp_path):
    config = load(
        write(
            "[strategy.params]\nname = 'a \"quoted\" \\\\ word'\nfactor = 1.5\nflag = true\n"
            "[instruments.EURUSD]\nswap_long_millipips = -650\n[data]\nsymbols = ['EURUSD', 'GBPUSD']\n"
        )
    )
    shown = tmp_path / "shown.toml"
    shown.write_text(explain(config))

    assert settings_of(load(shown)) == settings_of(config)
    assert f"# {tmp_path / 'plimsoll.toml'}" in explain(config)
    json.dumps(explain_json(config))


def test_passwords_are_never_shown(write):
    config = load(write("[store]\nurl = 'postgresql://ann:hunter2@host/db'\n[bus]\nurl = 'nats://hunter3@host:4222'\n"))

    everything = explain(config) + json.dumps(explain_json(config))
    assert "hunter" not in everything
    assert "postgresql://ann:***@host/db" in everything
    with pytest.raises(ConfigError) as caught:
        load(write("[bus]\nurl = 'http://u:hunter2@host'\n"))
    assert "hunter2" not in str(caught.value)


def test_state_lives_where_the_user_says_or_in_the_xdg_directory(tmp_path):
    assert state_dir(load()) == tmp_path / "data" / "plimsoll"
    config = load(overrides={"state": str(tmp_path / "mine")})
    assert state_dir(config) == tmp_path / "mine"
    assert store_url(config) == f"sqlite:///{tmp_path}/mine/plimsoll.db"


KEYS = st.sampled_from(
    [
        *(field.name for field in msgspec.structs.fields(Config)),
        "profile",
        "prod",
        "port",
        "method",
        "EURUSD",
        "x",
        "a\nb",
    ]
)
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@settings(max_examples=200, deadline=None)
@given(st.recursive(VALUES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3)))
def test_whatever_a_file_holds_the_answer_is_a_configuration_or_one_clear_line(tree):
    document = tree if isinstance(tree, dict) else {"web": tree}
    said = ""
    try:
        module._with_place("f: ", module._layers(document, {}, "f", "dev", {}))
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said


@settings(max_examples=60, deadline=None)
@given(password=st.text(st.characters(codec="ascii", categories=("L", "N", "P")), min_size=4).map(lambda t: f"~{t}~"))
def test_no_password_survives_masking(password):
    masked = mask_url(f"postgresql://ann:{password}@host/db")

    assert password not in masked
    assert masked.startswith("postgresql://ann:***@")


@pytest.mark.parametrize(("pace", "speed"), [("real", 1.0), ("60x", 60.0), ("0.5x", 0.5), ("max", None)])
def test_a_pace_is_a_speed(pace, speed):
    found = load(overrides={"execution.pace": pace}).execution.speed

    assert found == speed
    assert found is None or math.isfinite(found)

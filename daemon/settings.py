"""Every setting there is, with its unit in its name, its default and its bounds. `daemon.config` fills them.

One list in one file, though past 400 lines: who looks for a setting looks here.
"""

import itertools
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from adapters.exchange.model import ExecutionModel
from adapters.history.clocks import check_clock
from adapters.notify.channels.email import Settings as EmailSettings
from adapters.notify.channels.log import Settings as LogSettings
from adapters.notify.channels.slack import Settings as SlackSettings
from adapters.notify.channels.telegram import Settings as TelegramSettings
from adapters.notify.channels.webhook import Settings as WebhookSettings
from bus.calendar import to_ns
from bus.errors import ConfigError, DataError
from bus.values import Instrument, default_instrument
from models.defaults import ARCHITECTURES
from models.learning import Learning
from models.searching import Search
from models.signing import Trust
from models.space import Value
from risk.alerts import AlertSettings, check_off
from risk.alerts.cost import CostPolicy
from risk.policy import Policy
from risk.promotion import SwapPolicy
from risk.sizing import SizingSettings

PROFILES = ("dev", "staging", "prod")

Percent = Annotated[int, Meta(ge=0, le=100)]
Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
Seed = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$")]
Symbol = Annotated[str, Meta(pattern="^[A-Za-z0-9._-]{1,32}$")]
Horizon = Annotated[int, Meta(ge=1, le=10_000)]
Level = Annotated[float, Meta(gt=0, lt=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section."""


class AccountSection(Section, frozen=True, kw_only=True):
    """The paper account.

    Attributes:
        currency: of the account, three capitals.
        money_digits: decimals of that currency; 2 counts cents.
        balance: at the start, in whole units of the currency.
        leverage: units of value that a unit of margin carries.
        hedged: positions in both directions of one symbol at a time (True), or one netted position (False).
    """

    currency: Currency = "USD"
    money_digits: Annotated[int, Meta(ge=0, le=8)] = 2
    balance: Annotated[int, Meta(ge=1, le=10_000_000_000)] = 10_000
    leverage: Annotated[int, Meta(ge=1, le=2_000)] = 30
    hedged: bool = True

    @property
    def balance_units(self) -> int:
        """The balance at the start in the currency's smallest unit."""
        return self.balance * 10**self.money_digits


class DataSection(Section, frozen=True, kw_only=True):
    """Which prices, and how they are split in order of time.

    Attributes:
        path: a file or folder of prices; empty = the sample of EURUSD hours.
        symbols: what to trade; empty = every symbol that the data holds.
        clock: in which the file writes times: utc, utc+2, est, new_york, eet, an IANA zone; empty = the format's own.
        period_s: length of a bar in seconds; 0 = the file's own, and an hour for ticks.
        train_pct: the first part, on which models learn.
        calibrate_pct: the next part, which measures their intervals.
        trade_pct: the last part, which is traded. The three add up to 100.
        since: prices before this day are left out, as if there were none; empty = from the first.
        learn_until: the day on which learning ends, in place of `train_pct`: ``2021-01-01``, or a moment such as
            ``2021-01-01T21:00``; UTC. What is learnt from opened before it.
        calibrate_until: likewise the end of calibration, from which on prices are traded.
    """

    path: str = ""
    symbols: tuple[Symbol, ...] = ()
    clock: str = ""
    period_s: Annotated[int, Meta(ge=0, le=604_800)] = 0
    train_pct: Annotated[int, Meta(ge=1, le=98)] = 60
    calibrate_pct: Annotated[int, Meta(ge=1, le=98)] = 20
    trade_pct: Annotated[int, Meta(ge=1, le=98)] = 20
    since: str = ""
    learn_until: str = ""
    calibrate_until: str = ""

    def __post_init__(self) -> None:
        """Refuse a clock that nobody keeps, parts that are not the whole, and ends out of order."""
        if self.clock:
            try:
                check_clock(self.clock)
            except DataError as error:
                raise ValueError(f"clock = {self.clock!r}: {error}") from None
        total = self.train_pct + self.calibrate_pct + self.trade_pct
        if total != 100:
            raise ValueError(f"train_pct + calibrate_pct + trade_pct = {total}; they must add up to 100")
        if bool(self.learn_until) != bool(self.calibrate_until):
            raise ValueError("learn_until and calibrate_until go together; write both, or neither")
        moments = [(name, self.moment_ns(name)) for name in ("since", "learn_until", "calibrate_until")]
        given = [(name, ts_ns) for name, ts_ns in moments if ts_ns is not None]
        for (earlier, first_ns), (later, next_ns) in itertools.pairwise(given):
            if first_ns >= next_ns:
                raise ValueError(f"{later} = {getattr(self, later)!r}; it must come after {earlier}")

    def moment_ns(self, name: str) -> int | None:
        """A moment that is set by its field's name, in UTC nanoseconds; None where it is not set.

        Raises:
            ValueError: it is no day and no moment.
        """
        text: str = getattr(self, name)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(
                f"{name} = {text!r} is no day; write one such as 2021-01-01, or 2021-01-01T21:00, in UTC"
            ) from None
        return to_ns(moment.replace(tzinfo=moment.tzinfo or UTC))

    @property
    def ends_ns(self) -> tuple[int, int] | None:
        """Where learning and calibration end, where that is set by date."""
        learn_ns, calibrate_ns = self.moment_ns("learn_until"), self.moment_ns("calibrate_until")
        return None if learn_ns is None or calibrate_ns is None else (learn_ns, calibrate_ns)


class SpreadSection(Section, frozen=True, kw_only=True):
    """The spread where a source has one side only (see adapters.history.SpreadModel).

    Attributes:
        base_millipips: quiet spread in 1/1000 pip.
        rollover_factor: how many times wider it is around 17:00 New York; 1 = not wider.
        rollover_minutes: length of that time, centred on 17:00 New York; 0 = none.
        range_millis: thousandths of the bar's high minus low that are added; 0 = none.
    """

    base_millipips: Annotated[int, Meta(ge=0, le=1_000_000)] = 800
    rollover_factor: Annotated[int, Meta(ge=1, le=100)] = 3
    rollover_minutes: Annotated[int, Meta(ge=0, le=720)] = 60
    range_millis: Annotated[int, Meta(ge=0, le=1_000)] = 0


class ForecastSection(Section, frozen=True, kw_only=True):
    """What is forecast, and how long an answer may take.

    Attributes:
        horizons: how many bars ahead, ascending.
        levels: coverage of the intervals, widest first; the first decides.
        model_latency_ms: simulated time from question to answer.
        deadline_s: an answer later than this after its bar closed is no forecast.
        worker: who answers where there is no bus: a ``thread`` of the daemon, or a ``process`` of its own, which may
            hang, grow or die without hurting the daemon; the thread then stands by.
        device: where a ``process`` computes: ``auto`` = for each model the GPU where there is one and it is quicker,
            else the processor; ``cpu``; ``cuda`` = the GPU wherever a model can run on it. A thread uses none.
        gather_us: how long a request may wait, in microseconds, for those of other symbols whose bars close at the same
            instant, so that a GPU computes them side by side; 0 = not at all. Without a GPU nothing waits.
    """

    horizons: Annotated[tuple[Horizon, ...], Meta(min_length=1, max_length=16)] = (1, 4, 24)
    levels: Annotated[tuple[Level, ...], Meta(min_length=1, max_length=8)] = (0.9, 0.1)
    model_latency_ms: Milliseconds = 20
    deadline_s: Annotated[int, Meta(ge=1, le=86_400)] = 5
    worker: Literal["thread", "process"] = "thread"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gather_us: Annotated[int, Meta(ge=0, le=100_000)] = 500

    def __post_init__(self) -> None:
        """Refuse disorder, and a deadline that no answer can meet."""
        if list(self.horizons) != sorted(set(self.horizons)):
            raise ValueError(f"horizons = {list(self.horizons)}; write each once, in ascending order")
        if list(self.levels) != sorted(set(self.levels), reverse=True):
            raise ValueError(f"levels = {list(self.levels)}; write each once, the widest first")
        if self.model_latency_ms >= self.deadline_s * 1000:
            raise ValueError(
                f"model_latency_ms = {self.model_latency_ms}; every answer would miss deadline_s = {self.deadline_s}"
            )
        if self.device == "cuda" and self.worker != "process":
            raise ValueError(f"device = 'cuda' with worker = {self.worker!r}; write worker = \"process\"")

    @property
    def levels_ppm(self) -> tuple[int, ...]:
        """The levels in millionths."""
        return tuple(round(level * 1_000_000) for level in self.levels)


class ExecutionSection(Section, frozen=True, kw_only=True):
    """How long things take on their way, and how fast simulated time passes.

    Attributes:
        order_latency_ms: simulated time of a command to the venue.
        fact_latency_ms: simulated time of a fact back.
        slippage_allowance_e5: what a strategy must expect to lose to slippage, both sides together, in 1/100000.
        pace: ``max``, ``real``, or a factor such as ``60x``.
    """

    order_latency_ms: Milliseconds = 50
    fact_latency_ms: Milliseconds = 25
    slippage_allowance_e5: Annotated[int, Meta(ge=0, le=1_000_000)] = 4
    pace: str = "max"

    def __post_init__(self) -> None:
        """Refuse what is no pace, and time that stands still."""
        factor = re.fullmatch(r"([0-9]{1,12}(\.[0-9]{1,6})?)x", self.pace)
        if self.pace not in {"max", "real"} and (factor is None or not 0 < float(factor[1]) <= 1e9):
            raise ValueError(f"pace = {self.pace!r} is no pace; write max, real, or a factor such as 60x")

    @property
    def speed(self) -> float | None:
        """Simulated seconds a second; None = as fast as it goes."""
        if self.pace == "max":
            return None
        return 1.0 if self.pace == "real" else float(self.pace[:-1])


class StrategySection(Section, frozen=True, kw_only=True):
    """Which strategy trades; the strategy's own file says what `params` may hold."""

    name: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]*$")] = "interval"
    params: dict[str, bool | int | float | str] = {}


class ModelsSection(Section, frozen=True, kw_only=True):
    """What is trained, and which models are let in.

    Attributes:
        seed: of training; equal seeds and data give equal models.
        architectures: what is trained; `plimsoll models architectures` lists what there is. The forecaster that is best
            on the validation part trades, whatever the order.
        trusted_keys: public keys whose signatures count, as `plimsoll models keygen` tells them; empty = anybody's.
        require_signature: whether an artifact without a signature is refused.
        latency_ms: the longest that a model's forecast may typically take; 0 = any time.
        trades: which model trades a symbol: an architecture's name, or an id, by symbol; else the one that its release
            puts forward.
        parameters: of the networks themselves, by the network's name; `plimsoll train search --spaces` lists them.
    """

    seed: Seed = 7
    architectures: tuple[str, ...] = ARCHITECTURES
    trusted_keys: tuple[str, ...] = ()
    require_signature: bool = False
    latency_ms: Milliseconds = 250
    trades: dict[Symbol, str] = {}
    parameters: dict[str, dict[str, Value]] = {}

    def __post_init__(self) -> None:
        """Refuse what is no key, a demand that nothing can meet, and names of what cannot be trained."""
        _ = self.trust
        if self.architectures != ARCHITECTURES:
            from models.catalogue import check  # numpy: a configuration that chooses nothing does without

            check(self.architectures)
        if self.parameters:
            from models.catalogue import check_space

            for name, given in self.parameters.items():
                check_space(name, given)

    @property
    def trust(self) -> Trust:
        """Whose artifacts are read."""
        return Trust(keys=self.trusted_keys, required=self.require_signature)


class BusSection(Section, frozen=True, kw_only=True):
    """Where messages travel. An empty url keeps them in this process; ``nats://host:4222`` shares them.

    Attributes:
        url: of the NATS server; JetStream must be on (``nats-server -js``).
        namespace: keeps apart what different runs on one server say.
    """

    url: Annotated[str, Meta(pattern="^$|^(nats|tls|ws|wss)://.+")] = ""
    namespace: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] = "plimsoll"


class StoreSection(Section, frozen=True, kw_only=True):
    """The projection of the journal. An empty url is ``plimsoll.db`` in the state directory."""

    enabled: bool = True
    url: str = ""


class WebSection(Section, frozen=True, kw_only=True):
    """The read-only status page. Port 0 takes any free port."""

    enabled: bool = True
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Port = 8080


class ReportSection(Section, frozen=True, kw_only=True):
    """The report after a run. An empty folder puts it beside the run's journal, another one below its own name."""

    enabled: bool = True
    folder: str = ""


class AlertsSection(AlertSettings, frozen=True, kw_only=True):
    """What is an alert (see `AlertSettings`), and who is told. No secret stands in this file.

    Attributes:
        enabled: whether anybody is told at all.
        paper: whether channels other than the log are told of paper days.
        cost: when trading costs too much, and what that does to size.
        log: a line here, and one in the run's folder.
        webhook: any receiver of JSON, signed.
        slack: an incoming webhook.
        telegram: a bot and a chat.
        email: an SMTP server.
    """

    enabled: bool = True
    paper: bool = False
    cost: CostPolicy = CostPolicy()
    log: LogSettings = LogSettings()
    webhook: WebhookSettings = WebhookSettings()
    slack: SlackSettings = SlackSettings()
    telegram: TelegramSettings = TelegramSettings()
    email: EmailSettings = EmailSettings()

    def __post_init__(self) -> None:
        """Refuse impossible bounds, and rules that do not exist."""
        self.check()
        check_off(self.off)

    @property
    def bounds(self) -> AlertSettings:
        """The rules' part."""
        return AlertSettings(**{name: getattr(self, name) for name in AlertSettings.__struct_fields__})


class CTraderSection(Section, frozen=True, kw_only=True):
    """The broker: the application that asks, and where its tokens rest. No secret stands in this file.

    Attributes:
        environment: demo or live accounts.
        host: of the server; empty = the broker's own for the environment.
        port: of the protobuf protocol.
        account_id: ctidTraderAccountId of the account to trade; 0 = the login's only one of the environment.
        label: marks our orders and positions; two daemons on one account need two.
        adopt: whether positions and orders that others opened count as ours, and may be closed.
        depth: whether the depth of every symbol is asked for and shown on the status page; nothing is traded on it.
        allow_live: real money; needs PLIMSOLL_LIVE_ACCOUNT in the environment too, which names the account.
        time: wall, or recorded where the server plays recorded prices (`plimsoll venue`): then prices tell the time.
        on_stop: keep positions, which have their stops at the broker, or flatten them.
        client_id: of the application registered with the broker.
        client_secret_file: a file of mode 0600 with the application's secret; empty = systemd's credential
            ``plimsoll-ctrader-client-secret`` where there is one, else what `plimsoll auth login` asked for.
        scope: trading, or accounts = look only.
        redirect_port: where the browser brings the consent; register ``http://127.0.0.1:PORT/callback``.
        consent_url: where the user allows the application to act.
        token_url: issues and refreshes tokens; http is allowed on loopback only.
        ca_file: a private authority for connections to the broker; empty = the machine's.
        token_file: the sealed store; empty = ``ctrader/tokens`` in the state directory.
        token_key: where the store's key rests: auto, keyring, credential (systemd), or file.
        token_key_file: the key's file; empty = one for this store in the user's configuration directory.
    """

    environment: Literal["demo", "live"] = "demo"
    host: Annotated[str, Meta(pattern="^[A-Za-z0-9.:-]{0,253}$")] = ""
    port: Annotated[int, Meta(ge=1, le=65_535)] = 5_035
    account_id: Annotated[int, Meta(ge=0)] = 0
    label: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,40}$")] = "plimsoll"
    adopt: bool = False
    depth: bool = False
    allow_live: bool = False
    time: Literal["wall", "recorded"] = "wall"
    on_stop: Literal["keep", "flatten"] = "keep"
    client_id: Annotated[str, Meta(pattern="^[!-~]{0,200}$")] = ""
    client_secret_file: str = ""
    scope: Literal["trading", "accounts"] = "trading"
    redirect_port: Annotated[int, Meta(ge=1, le=65_535)] = 8723
    consent_url: str = "https://id.ctrader.com/my/settings/openapi/grantingaccess/"
    token_url: str = "https://openapi.ctrader.com/apps/token"  # noqa: S105 (a URL)
    ca_file: str = ""
    token_file: str = ""
    token_key: Literal["auto", "keyring", "credential", "file"] = "auto"  # noqa: S105 (a place)
    token_key_file: str = ""


class Config(Section, frozen=True, kw_only=True):
    """Everything that can be set.

    Attributes:
        state: directory of journals, models and reports; empty = plimsoll's folder in the XDG data directory.
        instruments: specifications that differ from the default for a pair, by symbol.
        profile: which overlay was laid over the file.
        file: which file was read, empty = none.
        sources: dotted key to where its value came from; a key that is not in it has its default.
    """

    state: str = ""
    account: AccountSection = AccountSection()
    data: DataSection = DataSection()
    spread: SpreadSection = SpreadSection()
    exchange: ExecutionModel = ExecutionModel()
    forecast: ForecastSection = ForecastSection()
    execution: ExecutionSection = ExecutionSection()
    strategy: StrategySection = StrategySection()
    sizing: SizingSettings = SizingSettings()
    risk: Policy = Policy()
    models: ModelsSection = ModelsSection()
    training: Learning = Learning()
    search: Search = Search()
    swap: SwapPolicy = SwapPolicy()
    bus: BusSection = BusSection()
    store: StoreSection = StoreSection()
    web: WebSection = WebSection()
    report: ReportSection = ReportSection()
    alerts: AlertsSection = AlertsSection()
    ctrader: CTraderSection = CTraderSection()
    instruments: dict[str, Instrument] = {}
    profile: str = "dev"
    file: str = ""
    sources: dict[str, str] = {}

    def instrument(self, symbol: str) -> Instrument:
        """The specification of a symbol: the configured one, else the default for such a pair.

        Raises:
            ConfigError: neither exists.
        """
        found = self.instruments.get(symbol.upper())
        if found is not None:
            return found
        try:
            return default_instrument(symbol)
        except DataError as error:
            raise ConfigError(str(error)) from None


NOT_IN_FILE = frozenset({"profile", "file", "sources"})
"""Fields of `Config` that say where it came from, and are no settings."""


def check_instrument(instrument: Instrument) -> None:
    """Refuse a specification that no venue can have.

    Raises:
        ValueError: one line that begins with the field's name.
    """
    at_least = {
        "digits": 0,
        "pip_e5": 1,
        "lot_e2": 1,
        "min_volume_e2": 1,
        "step_volume_e2": 1,
        "max_volume_e2": instrument.min_volume_e2,
        "commission_per_million_e2": 0,
        "leverage": 0,
        "swap_triple_weekday": 0,
    }
    for name, lowest in at_least.items():
        value: int = getattr(instrument, name)
        if value < lowest:
            raise ValueError(f"{name} = {value}; write {lowest} or more")
    if instrument.digits > 5:
        raise ValueError(f"digits = {instrument.digits}; prices are kept to 5 decimals, write 0 to 5")
    if instrument.swap_triple_weekday > 6:
        raise ValueError(f"swap_triple_weekday = {instrument.swap_triple_weekday}; write 0 (Monday) to 6 (Sunday)")
    if instrument.session not in {"fx", "always"}:
        raise ValueError(f"session = {instrument.session!r}; write 'fx' or 'always'")
    if not instrument.base or not instrument.quote or instrument.base == instrument.quote:
        raise ValueError(f"base = {instrument.base!r}, quote = {instrument.quote!r}; write two different assets")

"""cTrader: the Open API as a broker adapter, and a venue that speaks it."""

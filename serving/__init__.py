"""The server: routing, capture, hot swap, and the engine behind them."""

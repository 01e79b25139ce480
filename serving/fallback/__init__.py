"""What answers where the live version cannot: chains, circuit breakers, upstreams."""

"""Search strategies: how test-time compute is spent."""

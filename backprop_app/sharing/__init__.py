"""Tunnels: how a login-protected app on loopback is reached from elsewhere, for a limited time."""

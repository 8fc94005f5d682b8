"""Who may use the web app: credentials, sessions, tokens of scripts, failed attempts, and the audit log.

Knows nothing of HTTP: the gate of the web app asks here, and `backprop auth` writes here.
"""

"""Builds the static bundle of the web app. Needed by developers and packagers, never by a user."""

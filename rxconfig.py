"""Reflex settings of the web app, read when the bundle is built and when it is served.

Host and port of a running app come from `backprop ui`; the port here only shapes the build.
"""

import reflex as rx

from backprop_app.build.same_origin import SameOriginPlugin

config = rx.Config(
    app_name="backprop_app",
    app_module_import="backprop_app.app",
    frontend_port=7860,
    backend_port=7860,
    backend_host="127.0.0.1",
    telemetry_enabled=False,
    show_built_with_reflex=False,
    state_manager_mode="memory",
    # A tab that sleeps over the weekend finds its form draft again.
    redis_token_expiration=7 * 24 * 3600,
    default_color_mode="dark",
    plugins=[
        SameOriginPlugin(),
        rx.plugins.RadixThemesPlugin(
            theme=rx.theme(
                appearance="inherit",
                accent_color="indigo",
                gray_color="slate",
                radius="medium",
                panel_background="solid",
            )
        ),
    ],
    disable_plugins=[rx.plugins.SitemapPlugin],
)

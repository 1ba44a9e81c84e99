"""The server of the demo: to this machine alone, and to no page of another origin."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fervid.errors import InputError

if TYPE_CHECKING:
    import gradio as gr
    from starlette.types import ASGIApp, Receive, Scope, Send

STYLE = """
.gradio-container { max-width: 1180px !important; margin: 0 auto !important; }
.video video { max-height: 60vh; }
"""
ADDRESS = "127.0.0.1"  # this machine alone, never a network


class SameOriginMiddleware:
    """Refuses requests that a page of another origin makes; Gradio itself lets any page of this machine ask.

    Args:
        app: the application that answers all other requests.
    """

    def __init__(self, app: "ASGIApp"):
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers with 403, or hands the request on."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else {}
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers.get('host')}":
            await PlainTextResponse("Only the page itself may ask.", status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@asynccontextmanager
async def _guarded(app: Any) -> AsyncIterator[None]:
    """Puts the checks before all of Gradio's own middleware, which would answer for any host, as the server starts."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app.middleware_stack = TrustedHostMiddleware(
        SameOriginMiddleware(app.middleware_stack), allowed_hosts=[ADDRESS, "localhost"], www_redirect=False
    )
    yield


def launch(page: "gr.Blocks", port: int, largest_upload: float) -> None:
    """Serves the page in the background, to this machine alone: other host names and origins are refused.

    Args:
        page: of :func:`fervid.demo.page.build_page`.
        port: of 127.0.0.1.
        largest_upload: megabytes.

    Raises:
        InputError: if the port is taken.
    """
    import gradio as gr

    system = ["system-ui", "Segoe UI", "DejaVu Sans", "sans-serif"]  # fonts from elsewhere would need a network
    try:
        page.launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            footer_links=[],
            run_history=False,  # would be kept in the browser
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            pwa=False,
            max_file_size=f"{largest_upload}mb",
            app_kwargs={"lifespan": _guarded},
            theme=gr.themes.Soft(primary_hue="blue", font=system, font_mono=["ui-monospace", "monospace"]),
            css=STYLE,
        )
    except OSError as error:
        raise InputError(
            f"port={port} cannot be used: another demo may be open there; close it, or give another, port={port + 1}."
        ) from error

"""The server of the demo, which answers only this machine and only requests from its own page."""

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
ADDRESS = "127.0.0.1"  # only this machine, never a network


class SameOriginMiddleware:
    """Rejects requests from pages of other origins; Gradio itself accepts requests from any page on this machine.

    Args:
        app: the application that handles all other requests.
    """

    def __init__(self, app: "ASGIApp"):
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers with status 403, or passes the request on."""
        from starlette.datastructures import Headers
        from starlette.responses import PlainTextResponse

        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else {}
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{headers.get('host')}":
            message = "Requests from other origins are not allowed."
            await PlainTextResponse(message, status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


@asynccontextmanager
async def _guarded(app: Any) -> AsyncIterator[None]:
    """Adds the checks when the server starts, in front of Gradio's own middleware, which answers for any host."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app.middleware_stack = TrustedHostMiddleware(
        SameOriginMiddleware(app.middleware_stack), allowed_hosts=[ADDRESS, "localhost"], www_redirect=False
    )
    yield


def launch(page: "gr.Blocks", port: int, largest_upload: float) -> None:
    """Serves the page in the background and only to this machine; rejects other host names and origins.

    Args:
        page: the page from :func:`fervid.demo.page.build_page`.
        port: port on 127.0.0.1.
        largest_upload: maximum size of an upload in megabytes.

    Raises:
        InputError: if the port is in use.
    """
    import gradio as gr

    system = ["system-ui", "Segoe UI", "DejaVu Sans", "sans-serif"]  # web fonts would need a network
    try:
        page.launch(
            server_name=ADDRESS,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            inbrowser=False,
            footer_links=[],
            run_history=False,  # it would be stored in the browser
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
            f"port={port} cannot be used: another demo may be running; close it, or use another port, such as "
            f"port={port + 1}."
        ) from error

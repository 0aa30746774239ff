"""The app as a server: what every response says about what a page may load, and who may ask. `rag ui` runs it.

A page loads nothing from outside and runs no script but Streamlit's own and our components', which come as blobs. So
what a document smuggles into a page neither runs nor reports home.
"""

import base64
import hashlib
import re
from pathlib import Path

import streamlit
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config
from streamlit.runtime.pages_manager import PagesManager
from streamlit.starlette import App

_INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def policy() -> str:
    """The content security policy; inline scripts of Streamlit's own page are named by their hashes."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(page))
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return "; ".join(
        (
            "default-src 'self'",
            f"script-src 'self' blob: {hashes}",
            "style-src 'self' 'unsafe-inline'",  # its styles are made in the browser
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


class Headers:
    """ASGI middleware: the same protecting headers on every response."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before an application."""
        self._app = app
        self._headers = {
            "Content-Security-Policy": policy(),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass all on, with the headers set."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


# Else Streamlit takes the folder `pages` for an app of the old kind until the first session has run `app.py`, and a
# page that is opened by its address would come without what all pages share.
PagesManager.uses_pages_directory = False
app = App(
    Path(__file__).with_name("app.py"),
    middleware=[
        Middleware(Headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=config.get_option("server.allowedHosts") or ["*"]),
    ],
)

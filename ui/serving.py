"""The web page's server as a command line: which address, which names for it, how large an upload. Starts nothing."""

import re
import sys
from pathlib import Path

from rag.errors import SettingsError
from ui.output import Options

_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only compared
_NAME = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)
_THEME = ("--theme.light.primaryColor=#2f6f9f", "--theme.dark.primaryColor=#6fb1dd")
_QUIET = ("--browser.gatherUsageStats=false", "--client.showErrorDetails=none", "--client.toolbarMode=minimal")


def streamlit_command(options: Options) -> list[str]:
    """What `rag ui` becomes. Raises `SettingsError` where a name that it may be called by is none."""
    # Unless it is told one, Streamlit on all addresses asks a service in the internet for its own.
    shown = "localhost" if options.address in _EVERYWHERE else options.address
    return [
        *(sys.executable, "-m", "streamlit", "run", str(Path(__file__).with_name("server.py"))),
        *(f"--server.address={options.address}", f"--server.port={options.port}", "--server.headless=true"),
        f"--browser.serverAddress={shown}",
        *(f"--server.allowedHosts={name}" for name in allowed_hosts(options.address, options.allow_host)),
        f"--server.maxUploadSize={options.upload_limit}",
        *_THEME,
        *_QUIET,
    ]


def allowed_hosts(address: str, names: list[str]) -> list[str]:
    """The names that a browser may call the server by: this machine's own, its address, and those that are given.

    A page elsewhere whose name is made to lead here is so refused (DNS rebinding). Raises `SettingsError`.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise SettingsError(
                f"--allow-host {name!r} is no name of a machine; write it as in an address, without http:// and port."
            )
    found = {"localhost", "127.0.0.1", *names} | {"::1" if address == "::" else address}
    found -= set(_EVERYWHERE)
    return sorted(found | {f"[{name}]" for name in found if ":" in name})  # in brackets, as browsers write it


def location(address: str, port: int) -> str:
    """Where a browser finds it."""
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"

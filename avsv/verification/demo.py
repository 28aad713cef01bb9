"""A page in the browser that verifies two recordings, with the package gradio.

Gradio is told to collect and send nothing, and the fonts of the page are the reader's own. What the page still asks of
other machines, the browser refuses: a content security policy allows this server only.
"""

import html
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from avsv.errors import DataError
from avsv.verification.explain import explain_part
from avsv.verification.model import Model
from avsv.verification.recording import Recording

if TYPE_CHECKING:
    import gradio

_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' data: blob: ws: wss:;"
    " frame-ancestors 'self'"
)
_TITLE = "Do two recordings show the same person?"
_NOTE = (
    "Everything is computed on this machine. The decision holds for recordings like those on which the model was"
    " trained and calibrated."
)
_STYLE = ".gradio-container { max-width: 60em !important; margin: 0 auto !important }"
_RATES = [0.1, 0.01, 0.001]


def serve(model: Model, host: str, port: int) -> None:
    """Serve the page until the program is stopped; uploaded recordings are in a folder that is then deleted.

    Args:
        model: that verifies.
        host, port: where to listen.

    Raises:
        DataError: the address cannot be used.
    """
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with tempfile.TemporaryDirectory(prefix="avsv-demo-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        # Gradio reads these variables when it is imported.
        import gradio
        from starlette.middleware import Middleware

        page = build_page(model)
        try:
            _, address, _ = page.launch(
                server_name=host,
                server_port=port,
                share=False,
                inbrowser=False,
                quiet=True,
                prevent_thread_lock=True,
                ssr_mode=False,
                run_history=False,
                footer_links=[],
                theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
                css=_STYLE,
                app_kwargs={"middleware": [Middleware(Policy)], "docs_url": None, "redoc_url": None},
            )
        except OSError as error:
            raise DataError(f"{host}:{port}: cannot listen there: {error}: choose another --port") from None
        print(f"{address} (Ctrl-C ends)", flush=True)
        # Otherwise this signal would leave the folder behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            page.block_thread()
        finally:
            page.close()


class Policy:
    """ASGI middleware that sends the content security policy with every answer."""

    def __init__(self, app) -> None:
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        """Answer a request."""

        async def with_policy(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self.app(scope, receive, with_policy)


def build_page(model: Model) -> "gradio.Blocks":
    """The page: two fields, the false-accept rate, a button, and what was found."""
    import gradio

    live, name = (gradio.Audio, "Microphone") if model.embedder.letters == "A" else (gradio.Video, "Webcam")
    options = {"sources": ["microphone"], "type": "filepath"} if name == "Microphone" else {"sources": ["webcam"]}
    kinds = {"A": "Audio or video", "V": "Video or picture", "AV": "Video, audio or picture"}[model.embedder.letters]

    def field(title: str) -> list["gradio.components.Component"]:
        # Files of all kinds that the model reads, whether a browser can play them or not.
        with gradio.Column(min_width=280):
            gradio.Markdown(f"### {title}")
            with gradio.Tab("File"):
                file = gradio.File(label=kinds, type="filepath")
            with gradio.Tab(name):
                return [file, live(label=name, **options)]

    with gradio.Blocks(title=_TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gradio.Markdown(introduction(model))
        with gradio.Row():
            fields = [*field("First recording"), *field("Second recording")]
        rate = gradio.Radio(
            [(f"{100 * rate:g} %", rate) for rate in _RATES],
            value=0.01,
            label="False-accept rate",
        )
        button = gradio.Button("Compare", variant="primary")
        found = gradio.HTML()
        button.click(lambda *values: compare(model, *values), [*fields, rate], found, api_visibility="private")
    return page


def introduction(model: Model) -> str:
    """The title and the text above the fields, in Markdown."""
    caution = f" **Caution: {model.package.caution}.**" if model.package.caution else ""
    return f"# {_TITLE}\n\nModel {model.name}. {_NOTE}{caution}"


def compare(
    model: Model, one: str | None, one_live: str | None, other: str | None, other_live: str | None, far: float
) -> str:
    """Verify two recordings; what was found, or what is wrong with them, as a part of a page.

    Args:
        model: that verifies.
        one, other: paths of files; None where there is none.
        one_live, other_live: paths of what was recorded on the page.
        far: false-accept rate.
    """
    try:
        recordings = [_recording("first", one, one_live), _recording("second", other, other_live)]
        readings = model.read_pair(*recordings)
        return explain_part(model, readings, model.verify_readings(*readings, far=far))
    except DataError as error:
        return f'<p role="alert"><strong>Not compared.</strong> {html.escape(str(error))}</p>'


def _recording(which: str, *paths: str | None) -> Recording:
    """A recording under the name of its file. Raises DataError: there is none, or there are two."""
    given = [Path(path) for path in paths if path is not None]
    if len(given) != 1:
        raise DataError(f"the {which} recording: {'remove one of the two' if given else 'choose one'}")
    try:
        return replace(Recording.of(given[0]), name=given[0].name)
    except DataError as error:
        raise DataError(str(error).replace(str(given[0]), given[0].name)) from None

"""What is where on the page. Gradio is imported here alone, and says nothing to anybody."""

import os
from collections.abc import Callable, Iterator
from typing import Any

from PIL import Image

from ..errors import UserError, optional
from ..sampling import PRESETS
from . import actions, html, stations
from .actions import AS_TRAINED, MOST, Models, Part, Wanted

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
FONTS = ["system-ui", "sans-serif"]  # those of the machine: a theme's own would come from elsewhere
CSS = """
footer { display: none !important }
.said { min-height: 1.5em; margin: 0 }
.wrong { color: #b00020; font-weight: 600 }
.figures { display: flex; flex-wrap: wrap; gap: 16px }
.figures figure { margin: 0; text-align: center }
.figures img { image-rendering: pixelated; border: 1px solid #ddd }
.given img { width: 128px }
.words img { transition: transform 0.15s }
.words img:hover { position: relative; z-index: 9; transform: scale(2); transform-origin: top left }
"""


def gradio() -> Any:
    """The package, if it is installed.

    Raises:
        UserError: It isn't.
    """
    return optional("gradio", "the demo page", "demo")


def build(models: Models) -> Any:
    """The page, ready to launch.

    Args:
        models: By the names that they were given by.
    """
    gr = gradio()
    names = list(models)
    with gr.Blocks(title="jepa_t", analytics_enabled=False) as page:
        gr.Markdown(f"# jepa_t: {', '.join(names)}")
        with gr.Row():
            caption = gr.Textbox(label="Caption", placeholder="a fox", scale=5, elem_id="caption", autofocus=True)
            button = gr.Button("Draw", variant="primary", scale=1, elem_id="draw")
        with gr.Row():
            controls = [
                gr.Textbox("0", label="Seed", placeholder="at random", elem_id="seed", max_lines=1),
                gr.Slider(1, MOST, 1, step=1, label="Images"),
                gr.Textbox(label="Guidance", placeholder=AS_TRAINED, elem_id="guidance", max_lines=1),
                gr.Dropdown([AS_TRAINED, *PRESETS], value=AS_TRAINED, label="Preset"),
                gr.Textbox(label="Steps", placeholder=AS_TRAINED, elem_id="steps", max_lines=1),
            ]
        said = gr.HTML(elem_id="said")
        images, first = gr.HTML(elem_id="images"), gr.State()
        with gr.Accordion("Which words the first image looked at", open=False):
            words = gr.HTML(elem_id="words")
        with gr.Accordion("Redraw a part", open=False):
            gr.Markdown("Take the first drawn image, or give one of yours; brush over what is to be drawn anew.")
            with gr.Row():
                editor = gr.ImageEditor(
                    label="Image",
                    type="pil",
                    format="png",
                    sources=["upload", "clipboard"],
                    transforms=(),
                    layers=False,
                    brush=gr.Brush(default_size=40, colors=["#ff00ff"], color_mode="fixed"),
                    canvas_size=(actions.SIDE, actions.SIDE),
                    fixed_canvas=True,
                    elem_id="editor",
                )
                with gr.Column():
                    take = gr.Button("Take the first drawn image", elem_id="take")
                    redraw = gr.Button("Redraw what is brushed", variant="primary", elem_id="redraw")
                    given = gr.HTML(elem_id="given")
        with gr.Accordion("Where the time goes", open=False):
            measure = gr.Button("Draw once more, and measure", elem_id="measure")
            times = gr.Markdown(elem_id="times")
        with gr.Accordion("The same from the shell and from Python", open=False):
            shell = gr.Code(label="shell", language="shell", interactive=False, elem_id="shell")
            python = gr.Code(label="Python", language="python", interactive=False, elem_id="python")

        def on_draw(*values: Any) -> Iterator[tuple]:
            yield from shown(models, lambda: (Wanted.typed(*values), None))

        def on_redraw(held: Any, *values: Any) -> Iterator[tuple]:
            yield from shown(models, lambda: (Wanted.typed(*values), Part.of_editor(opened(editor, held))))

        def on_measure(*values: Any) -> tuple[Any, str]:
            try:
                return gr.skip(), stations.table(stations.shares(models, Wanted.typed(*values)))
            except UserError as error:
                return html.line(str(error), wrong=True), ""

        inputs, outputs = [caption, *controls], [said, images, first, words, given, shell, python]
        raw: dict[str, Any] = {"concurrency_id": "model", "preprocess": False}  # Gradio's own errors are tracebacks
        gr.on([button.click, caption.submit], on_draw, inputs, outputs, **raw)
        redraw.click(on_redraw, [editor, *inputs], outputs, **raw)
        take.click(taken, first, editor)
        measure.click(on_measure, inputs, [said, times], **raw)
    return page


def launch(page: Any, port: int | None = None) -> str:
    """Serve the page to this machine alone, until it is closed.

    Args:
        page: Of :func:`build`.
        port: By default the first free one from 7860 on.

    Returns:
        Its address.

    Raises:
        UserError: The port is taken.
    """
    theme = gradio().themes.Default(font=FONTS, font_mono=["monospace"])
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1", server_port=port, share=False, prevent_thread_lock=True, quiet=True, theme=theme,
            css=CSS, max_file_size="10mb", ssr_mode=False, footer_links=[], enable_monitoring=False,
        )  # fmt: skip
    except OSError as error:
        raise UserError(f"--port {port or '7860 to 7959'} is taken; give another") from error
    return str(address)


def shown(models: Models, ask: Callable[[], tuple[Wanted, Part | None]]) -> Iterator[tuple]:
    """What the page shows, at each moment: what is said, images, the first image, words, what was given, the lines.

    Args:
        models: By name.
        ask: What the controls say; raises what is wrong with it.
    """
    try:
        wanted, part = ask()
        parts = {} if part is None else {name: part.fitted(pipeline) for name, pipeline in models.items()}
        saved = actions.files(parts)
        own = {saved[name]: (part.image, part.mask.convert("L")) for name, part in parts.items()}
        given = "".join(html.figures(list(zip(*pair, strict=True)), "given") for pair in own.items())
        lines = actions.reproduction(list(models), wanted, saved)
        for view in actions.draw(models, wanted, parts):
            drawn = [(name, strip) for name, strip in zip(models, view.strips, strict=True) if strip]
            first = actions.first_of(drawn[0][1], wanted.count)
            words = "".join(html.line(name) + html.figures(maps, "words") for name, maps in view.words.items())
            yield html.line(view.said), html.figures(drawn, "strips"), first, words, given, *lines
    except UserError as error:
        yield html.line(str(error), wrong=True), *[gradio().skip()] * 6


def opened(editor: Any, held: dict[str, Any] | None) -> dict[str, Any] | None:
    """What Gradio's image editor holds, its files opened.

    Args:
        editor: The component.
        held: What the browser sent.

    Raises:
        UserError: A file is no image.
    """
    try:
        return editor.preprocess(None if held is None else editor.data_model(**held))
    except Exception as error:  # a damaged file can fail anywhere in PIL's many readers
        raise UserError("the file can't be read as an image; give a PNG or a JPEG") from error


def taken(first: Image.Image | None) -> dict[str, Any]:
    """What the editor holds once the first drawn image is taken; nothing if there is none."""
    return {"background": first, "layers": [], "composite": first}

"""Codes of a pretrained vector-quantised autoencoder (VQ): discrete image tokens."""

from torch import Tensor

from ..registry import TOKENIZERS
from .discrete import DiscreteTokenizer, nearest
from .pretrained import Frozen, load_pretrained


@TOKENIZERS.register_module()
class VQTokenizer(DiscreteTokenizer):
    """A frozen ``VQModel`` of diffusers.

    The autoencoder's weights stay in ``source``: checkpoints hold their hash alone, and refuse others.

    Args:
        source: A name on the hub, or a folder written by ``save_pretrained``.
        size: Height and width of the images in pixels.
        patch: Side of the square of codes that make one token; above 1 there are no ids.
        subfolder: Where in the source the autoencoder lies, such as ``vqvae``.

    Raises:
        UserError: The source is absent or damaged, a number doesn't fit, or diffusers isn't installed.

    Examples:
        >>> tokenizer = VQTokenizer("CompVis/ldm-celebahq-256", (256, 256), subfolder="vqvae")  # doctest: +SKIP
        >>> tokenizer.grid  # doctest: +SKIP
        (64, 64)
    """

    autoencoder: Frozen

    def __init__(self, source: str, size: tuple[int, int], patch: int = 1, subfolder: str | None = None) -> None:
        model = load_pretrained("VQModel", source, subfolder, "VQTokenizer")
        codes, channels = model.quantize.embedding.weight.shape
        super().__init__(size, 2 ** (len(model.config.block_out_channels) - 1), channels, codes, patch)
        self.autoencoder = Frozen(model, source)

    @property
    def codebook(self) -> Tensor:
        """The codes as the decoder reads them ``[K, c]``."""
        return self.autoencoder.module.quantize.embedding.weight

    def find_ids(self, images: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` to ids ``[B, h, w]``."""
        return nearest(self.autoencoder.module.encode(images).latents.movedim(1, -1), self.codebook)

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Codes ``[B, c, h, w]`` to images ``[B, 3, H, W]``."""
        model = self.autoencoder.module
        spatial = codes if model.config.norm_type == "spatial" else None
        return model.decoder(model.post_quant_conv(codes), spatial)

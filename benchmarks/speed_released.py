"""The authors' released code itself, with the weights of a model of ours.

https://github.com/TalalWasim/Vita-CLIP; nothing of it is in this repository.
"""
import contextlib
import importlib
import io
import sys
import tempfile
import types
from pathlib import Path

import packaging
import packaging.version
import torch
from baseline_model import released_weights
from torch import Tensor, nn
from vita_mm.errors import UserError
from vita_mm.models import VitaCLIP


def load_code(folder: Path):
    """The module of the released model.

    Raises:
        UserError: if there is none.
    """
    training = folder / 'training'
    if not (training / 'VitaCLIP_model.py').is_file():
        raise UserError(f'{folder} is no checkout of the released code: it has no '
                        'training/VitaCLIP_model.py')
    # It takes `packaging` from pkg_resources, which newer setuptools no longer have.
    before = sys.modules.get('pkg_resources')
    sys.modules['pkg_resources'] = stand_in = types.ModuleType('pkg_resources')
    vars(stand_in)['packaging'] = packaging
    sys.path.insert(0, str(training))
    try:
        return importlib.import_module('VitaCLIP_model')
    except ImportError as error:
        raise UserError(f'the released code in {folder} needs a package that is not '
                        f'installed: {error}') from error
    finally:
        sys.path.remove(str(training))
        sys.modules.pop('pkg_resources')
        if before is not None:
            sys.modules['pkg_resources'] = before


class Released(nn.Module):
    """The released model behind the interface of :class:`baseline_model.Baseline`."""

    def __init__(self, folder: Path, model: VitaCLIP) -> None:
        super().__init__()
        code = load_code(folder)
        head, backbone = model.cls_head, model.backbone
        clip, visual = head.clip.model, head.clip.model.visual
        prompts = backbone.prompts[0]
        width, embed_dim = visual.proj.shape
        length, text_width = clip.positional_embedding.shape
        blocks, text_blocks = (tower.transformer.resblocks for tower in (visual, clip))
        with tempfile.NamedTemporaryFile('w', suffix='.txt') as classes, \
                contextlib.redirect_stdout(io.StringIO()):
            classes.write('\n'.join(head.classes))
            classes.flush()
            self.model = code.VitaCLIP(
                input_size=visual.image_size, num_frames=backbone.num_frames,
                feature_dim=width, patch_size=visual.patch_size,
                num_heads=blocks[0].attn.num_heads, num_layers=len(blocks),
                embed_dim=embed_dim, use_summary_token=True, use_local_prompts=True,
                use_global_prompts=True,
                num_global_prompts=len(prompts.global_prompts.vectors),
                use_text_prompt_learning=True, text_context_length=length,
                text_vocab_size=len(clip.token_embedding.weight),
                text_transformer_width=text_width,
                text_transformer_heads=text_blocks[0].attn.num_heads,
                text_transformer_layers=len(text_blocks),
                text_num_prompts=head.context.vectors.shape[-2],
                text_prompt_CSC=head.class_specific,
                text_prompt_classes_path=classes.name)
        self.model.load_state_dict(released_weights(model))
        self.visual = self.model.visual

    def forward(self, video: Tensor) -> Tensor:
        return self.model(video)

    def encode_text(self) -> Tensor:
        return self.model.textual(self.model.prompt_learner(),
                                  self.model.tokenized_prompts)


def check_equal(model: VitaCLIP, opponent: nn.Module, video: Tensor) -> None:
    """Refuse to compare the speed of models that do not compute the same.

    Args:
        video: a normalised clip, (1, 3, T, H, W).

    Raises:
        UserError: if logits differ by more than 1e-4.
    """
    with torch.no_grad():
        ours = model(video[:, None], mode='tensor', stage='head')
        difference = (ours - opponent(video)).abs().max().item()
    if not difference <= 1e-4:
        raise UserError(f'logits differ by {difference:.1e} from those of the released '
                        'code with the same weights: it is of another version')

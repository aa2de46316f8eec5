"""A system on OpenAI's CLIP B/16, and how CLIP's frames are normalised."""
model = dict(
    type='CLIPRecognizer',
    clip=dict(arch='ViT-B-16', pretrained='openai'),
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[122.7709383, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        format_shape='NCTHW'))

"""Networks: audio and visual backbones, pooling over time, fusion."""

import pytest

from backprop_core.config.preset_shapes import PRESET_CONFIGS
from backprop_core.config.presets import find_preset
from backprop_core.planning.model_shape import ModelShape


@pytest.mark.parametrize("key", PRESET_CONFIGS)
def test_the_shape_of_a_preset_has_the_published_number_of_parameters(key):
    preset = find_preset(key)
    assert preset is not None
    assert ModelShape.from_config(PRESET_CONFIGS[key]).total_parameters == preset.parameters

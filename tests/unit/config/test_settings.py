import pytest

from backprop_core.config.settings import load_settings, unknown_variables
from backprop_core.errors import ConfigError


def test_everything_moves_with_the_home(tmp_path):
    settings, origins = load_settings({"BACKPROPAGATE_HOME": str(tmp_path / "h")})
    assert settings.sandbox_root == tmp_path / "h" / "ui-outputs"
    assert settings.cache_dir == tmp_path / "h" / "cache" / "models"
    assert origins["home"].source == "environment"


def test_a_flag_beats_the_environment_and_that_the_file(tmp_path):
    (tmp_path / "config.toml").write_text('log_level = "ERROR"\n[ui]\nport = 1000\n')
    environ = {"BACKPROPAGATE_HOME": str(tmp_path)}
    assert load_settings(environ)[0].ui__port == 1000
    environ["BACKPROPAGATE_UI__PORT"] = "2000"
    assert load_settings(environ)[0].ui__port == 2000
    settings, origins = load_settings(environ, overrides={"ui__port": 3000})
    assert (settings.ui__port, settings.log_level, origins["ui__port"].source) == (3000, "ERROR", "flag")


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_a_port_out_of_range_is_refused(tmp_path, port):
    with pytest.raises(ConfigError) as caught:
        load_settings({"BACKPROPAGATE_HOME": str(tmp_path), "BACKPROPAGATE_UI__PORT": port})
    assert caught.value.code == "CONFIG_INVALID_SETTING"


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "config.toml").write_text("[ui]\nprt = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_settings({"BACKPROPAGATE_HOME": str(tmp_path)})
    assert "ui.port" in caught.value.hint


def test_an_unknown_variable_is_reported_with_the_nearest():
    [error] = unknown_variables({"BACKPROPAGATE_UI__PROT": "1", "BACKPROPAGATE_LORA__R": "8", "OTHER": "x"})
    assert "BACKPROPAGATE_UI__PORT" in error.hint

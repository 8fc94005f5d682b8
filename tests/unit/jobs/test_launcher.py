from backprop_core.jobs.launcher import worker_environment

GIVEN = {
    "PATH": "/bin",
    "HOME": "/home/a",
    "CUDA_VISIBLE_DEVICES": "0",
    "HF_HOME": "/hf",
    "HF_TOKEN": "hf_secret",
    "HF_HUB_TOKEN": "hf_secret",
    "WANDB_API_KEY": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "BACKPROPAGATE_UI__AUTH": "alice:secret",
    "SSH_AUTH_SOCK": "/tmp/agent",
    "EDITOR": "vi",
}


def test_a_worker_gets_what_it_needs_and_no_secret():
    env = worker_environment(GIVEN)
    assert "secret" not in " ".join(env.values())
    assert (env["PATH"], env["CUDA_VISIBLE_DEVICES"], env["HF_HOME"]) == ("/bin", "0", "/hf")
    assert "EDITOR" not in env
    assert "SSH_AUTH_SOCK" not in env


def test_the_hub_token_reaches_only_a_run_that_loads_from_the_hub():
    assert "HF_TOKEN" not in worker_environment(GIVEN)
    assert worker_environment(GIVEN, needs_hub_token=True)["HF_TOKEN"] == "hf_secret"

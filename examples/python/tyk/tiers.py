"""What middleware.py imports when a hook of it runs."""


def of(config):
    return config["tier"]

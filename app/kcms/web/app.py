"""The WSGI application: the pages and what they all share."""

from __future__ import annotations

from flask import Flask

from kcms.config import WebConfig
from kcms.web import (
    api,
    cluster,
    grid,
    host,
    images,
    legend,
    login,
    processes,
    respond,
    results,
    submit,
)
from kcms.web.services import EXTENSION, Services


def create_app(config: WebConfig, services: Services) -> Flask:
    """The WSGI application, speaking to the outside world only through ``services``."""
    app = Flask("kcms.web")
    app.extensions[EXTENSION] = (config, services)
    app.config["SEND_FILE_MAX_AGE_DEFAULT"] = 300
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    for pages in (grid, cluster, host, legend, images, api, login, processes, submit, results):
        app.register_blueprint(pages.blueprint)
    respond.install(app)
    return app

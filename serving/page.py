"""The console's page and that of the HTTP interface: files served as they are, with headers that
let nothing else run.

The pages are static and hold no data; they ask the HTTP interface as any other client does. Nothing
comes from another server: FastAPI's own pages would load their scripts from one.
"""

import importlib.resources
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent / "console"
SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere, not to be framed.
OWN = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; "
)
# Besides: nothing inline, no markup made of text.
POLICY = (
    f"{OWN}style-src 'self'; img-src 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# Swagger UI has its styles and its icons inline.
DOCS_POLICY = f"{OWN}style-src 'self' 'unsafe-inline'; img-src 'self' data:"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a new version shows at once; the entity tag spares the transfer
}


def add_pages(api: FastAPI) -> None:
    """`GET /` and `GET /docs`, and the files that they name."""
    files = {path.name: path for path in FOLDER.iterdir() if path.suffix in KINDS}

    @api.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return answer(files["console.html"])

    @api.get("/console/{name}", include_in_schema=False)
    async def part(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404)
        return answer(files[name])

    @api.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return answer(files["docs.html"], DOCS_POLICY)

    @api.get("/docs/{name}", include_in_schema=False)
    async def swagger_ui(name: str) -> FileResponse:
        if name not in SWAGGER_UI:
            raise HTTPException(404)
        folder = importlib.resources.files("fastapi_offline") / "static"
        return answer(Path(str(folder / name)))


def answer(path: Path, policy: str = POLICY) -> FileResponse:
    headers = {**HEADERS, "Content-Security-Policy": policy}
    return FileResponse(path, media_type=KINDS[path.suffix], headers=headers)

"""The console's page: a few files served as they are, with headers that let nothing else run.

The page is static and holds no data; it asks the HTTP interface as any other client does.
"""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).parent / "console"
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
# Nothing inline, nothing from elsewhere, no markup made of text, not to be framed.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a new version shows at once; the entity tag spares the transfer
}


def add_console(api: FastAPI) -> None:
    """`GET /` and the files that the page names."""
    files = {path.name: path for path in FOLDER.iterdir() if path.suffix in KINDS}

    @api.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return answer(files["console.html"])

    @api.get("/console/{name}", include_in_schema=False)
    async def part(name: str) -> FileResponse:
        if name not in files:
            raise HTTPException(404)
        return answer(files[name])


def answer(path: Path) -> FileResponse:
    return FileResponse(path, media_type=KINDS[path.suffix], headers=HEADERS)

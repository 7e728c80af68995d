"""A server made with the official SDK of Python, for tests: over stdio, or with the word `http` over streamable HTTP."""
import os
import socket
import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("python", instructions="A server for tests.")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def meta(ctx: Context) -> dict:
    """Shows what the request says of itself."""
    return {str(key): value for key, value in dict(ctx.request_context.meta or {}).items()}


@server.tool()
def fail() -> str:
    """Fails."""
    raise ToolError("it did not work")


@server.tool()
def die() -> str:
    """Ends the server in the middle of the call."""
    os._exit(3)


@server.resource("note://greeting")
def greeting() -> str:
    """A greeting."""
    return "grüße"


if sys.argv[1:] == ["http"]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    print(f"http://127.0.0.1:{port}/mcp", flush=True)
    server.run("streamable-http", host="127.0.0.1", port=port)
else:
    server.run("stdio")

"""An MCP server of its own, without packages: notes in memory. docs/mcp.md uses it."""

import json
import sys

NOTES = []
TOOLS = [
    {
        "name": "list_notes",
        "description": "Lists the notes.",
        "inputSchema": {"type": "object"},
    },
    {
        "name": "add_note",
        "description": "Adds a note, once for each key.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    },
]
KEYS = set()


def call(params):
    name, arguments = params["name"], params.get("arguments", {})
    if name == "list_notes":
        return "\n".join(NOTES) or "there are no notes"
    if name == "add_note":
        key = params.get("_meta", {}).get("opspawn/idempotency-key")
        # A call that is sent again has the key of the first one.
        if key is None or key not in KEYS:
            KEYS.add(key)
            NOTES.append(arguments["text"])
        return f"there are {len(NOTES)} notes"
    raise ValueError(f"there is no tool {name}")


def answer(method, params):
    if method == "initialize":
        return {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "notes", "version": "1"},
        }
    if method == "tools/list":
        return {"tools": TOOLS}
    if method == "tools/call":
        return {"content": [{"type": "text", "text": call(params)}]}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        continue
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    try:
        result = answer(message["method"], message.get("params", {}))
        if result is None:
            reply["error"] = {"code": -32601, "message": "there is no such method"}
        else:
            reply["result"] = result
    except Exception as error:
        reply["result"] = {"content": [{"type": "text", "text": str(error)}], "isError": True}
    print(json.dumps(reply), flush=True)

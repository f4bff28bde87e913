"""Connects to a URL with the Python client of the mcp package, in one mode, lists the tools and calls one.

usage: client.py URL auto|legacy|modern TOOL ARGUMENTS_AS_JSON

Prints one JSON object {"protocolVersion", "tools", "result"} and ends with 0; with 1 and a message on failure.
"""

import asyncio
import json
import sys

import mcp

MODES = {"auto": "auto", "legacy": "legacy", "modern": "2026-07-28"}
PATIENCE_SECONDS = 60


async def main(url: str, mode: str, tool: str, arguments: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async with mcp.Client(url, mode=MODES[mode], client_info=mcp.Implementation(name="gaoler-tests", version="1")) as client:
            tools = await client.list_tools()
            result = await client.call_tool(tool, json.loads(arguments))
            report = {
                "protocolVersion": client.protocol_version,
                "tools": [tool.name for tool in tools.tools],
                "result": result.model_dump(mode="json", by_alias=True, exclude_none=True),
            }
    print(json.dumps(report))


asyncio.run(main(*sys.argv[1:]))

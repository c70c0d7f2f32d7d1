"""Talks to /ws/chat with the library that applications use: chat.py URL[,URL…] TOKEN ROOM [AFTER]

URL is a server's origin. Each frame of the server is a line on stdout, and so are {"connected": URL} and
{"closed": CODE}. Each line of stdin is a frame to send. A lost connection is opened again at the next URL, after the
last event seen.
"""

import asyncio
import itertools
import json
import random
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake


def say(line):
    print(line if isinstance(line, str) else json.dumps(line), flush=True)


async def read(socket, place):
    async for text in socket:
        place["after"] = json.loads(text).get("event", place["after"])
        say(text)


async def write(socket, lines):
    while True:
        await socket.send(await lines.get())


async def talk(url, token, room, place, lines):
    """One connection, to its end."""
    async with connect(url.replace("http", "ws", 1) + "/ws/chat") as socket:
        say({"connected": url})
        after = {"after": place["after"]} if place["after"] else {}
        in_lobby = room == "lobby"
        await socket.send(json.dumps({"type": "auth", "token": token, **(after if in_lobby else {})}))
        say(await socket.recv())
        if not in_lobby:
            await socket.send(json.dumps({"type": "leave", "room": "lobby"}))
            await socket.send(json.dumps({"type": "join", "room": room, **after}))
        writing = asyncio.create_task(write(socket, lines))
        try:
            await read(socket, place)
        finally:
            writing.cancel()
            say({"closed": socket.close_code})


async def main(urls, token, room, after=None):
    lines = asyncio.Queue()
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)

    async def listen():
        async for line in stdin:
            lines.put_nowait(line.decode())

    listening = asyncio.create_task(listen())
    place = {"after": after}
    for url in itertools.cycle(urls.split(",")):
        try:
            await talk(url, token, room, place, lines)
        except ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd.code in (4401, 4403):
                break
        except (OSError, TimeoutError, InvalidHandshake):
            pass
        await asyncio.sleep(random.uniform(0.02, 0.1))
    listening.cancel()


asyncio.run(main(*sys.argv[1:]))

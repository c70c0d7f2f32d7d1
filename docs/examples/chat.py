"""A chat in the terminal that neither loses nor repeats a message, over /ws/chat.

    pip install websockets
    CHAT_PASSWORD=… python3 chat.py https://chat.example USERNAME [STATE_FILE]

It shows what is said in the lobby and says the lines of its input there. The end of the input (Ctrl-D) ends it, as
soon as all lines are acknowledged. Needs Python 3.11.
"""

import asyncio
import json
import os
import random
import sys
import threading
import uuid
from http.client import HTTPException
from http.cookies import SimpleCookie
from itertools import count
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake


class State:
    """What outlives the process: the last event shown, and the lines that are not acknowledged."""

    def __init__(self, path):
        self.path = Path(path)
        self.is_new = not self.path.exists()
        kept = {"after": None, "outbox": []} if self.is_new else json.loads(self.path.read_text())
        self.after, self.outbox = kept["after"], kept["outbox"]

    def save(self):
        new = Path(f"{self.path}.new")
        new.write_text(json.dumps({"after": self.after, "outbox": self.outbox}))
        new.replace(self.path)  # At once: the file is the old one or the new one, never half of it.


def backoff(attempt):
    """Seconds to wait: twice as long each time, up to 30, and never in step with other clients."""
    return random.uniform(0, min(30, 0.25 * 2 ** min(attempt, 10)))


async def rest(request):
    """Headers and body of an answer, as soon as there is one. What the server refuses ends the program."""

    def ask():
        with urlopen(request, timeout=30) as answer:
            return answer.headers, json.load(answer)

    request.add_header("Content-Type", "application/json")
    for attempt in count():
        try:
            return await asyncio.to_thread(ask)
        except HTTPError as error:
            if error.code < 500 and error.code != 429:
                sys.exit(json.load(error)["message"])
            await asyncio.sleep(float(error.headers.get("Retry-After") or backoff(attempt)))
        except (OSError, HTTPException):
            await asyncio.sleep(backoff(attempt))


class Chat:
    def __init__(self, url, state):
        self.url, self.state = url, state
        self.to_send, self.all_sent = asyncio.Event(), asyncio.Event()

    async def run(self, username, password):
        body = json.dumps({"username": username, "password": password}).encode()
        headers, _ = await rest(Request(f"{self.url}/v1/auth/login", body))
        # The cookie's value is the session token.
        self.token = SimpleCookie(headers["Set-Cookie"])["bambisleep_session"].value
        if self.state.is_new:
            for message in await self.history(last=10):
                self.show(message, message["id"])
            self.state.save()
        self.attempt = 0
        while True:
            try:
                await self.talk()
            except ConnectionClosed as closed:
                if closed.rcvd and closed.rcvd.code in (4401, 4403):
                    sys.exit(1)  # The token is good no more; the server has said why.
            except (OSError, TimeoutError, InvalidHandshake):
                pass
            await asyncio.sleep(backoff(self.attempt))
            self.attempt += 1

    async def talk(self):
        """One connection, to its end. The library pings, and so finds out that the network is gone."""
        async with connect(self.url.replace("http", "ws", 1) + "/ws/chat") as socket:
            after = {"after": self.state.after} if self.state.after else {}
            await socket.send(json.dumps({"type": "auth", "token": self.token, **after}))
            answers = asyncio.Queue()
            sending = asyncio.create_task(self.send_all(socket, answers))
            try:
                while True:
                    await self.receive(json.loads(await socket.recv()), answers)
            finally:
                sending.cancel()

    async def receive(self, frame, answers):
        match frame["type"]:
            case "message" | "edit" | "delete":
                if not self.state.after:
                    await self.catch_up(frame)
                self.show(frame, frame["event"])
            case "auth" | "ack":
                answers.put_nowait(frame)
            case "error" if "nonce" in frame:
                answers.put_nowait(frame)
            case "error":
                print(frame["message"], file=sys.stderr)
                if frame["code"] == "NOT_FOUND":
                    sys.exit(1)  # There is nothing to go on after any more.

    # ---- Reading.

    def show(self, message, after):
        note = {"edit": " (edited)", "delete": " (deleted)"}.get(message.get("type"), "")
        print(f"{message['number']} {message['username']}{note}: {message['content']}", flush=True)
        self.state.after = after
        self.state.save()

    async def history(self, **page):
        request = Request(f"{self.url}/v1/chat/messages?{urlencode(page)}")
        request.add_header("Authorization", f"Bearer {self.token}")
        _, body = await rest(request)
        return body["messages"]

    async def catch_up(self, message):
        """There was nothing to go on after, for the room was empty: so all before this message is new too."""
        earlier, first = [], message
        while page := await self.history(last=100, before=first["id"]):
            earlier, first = page + earlier, page[0]
        for message in earlier:
            self.show(message, message["id"])

    # ---- Sending: one line after the other, each until it is acknowledged or refused.

    def say(self, content):
        self.state.outbox.append({"nonce": str(uuid.uuid4()), "content": content})
        self.state.save()
        self.all_sent.clear()
        self.to_send.set()

    async def send_all(self, socket, answers):
        await answers.get()  # That we are in.
        self.attempt = 0
        while True:
            while not self.state.outbox:
                self.all_sent.set()
                self.to_send.clear()
                await self.to_send.wait()
            line = self.state.outbox[0]
            try:
                await socket.send(json.dumps({"type": "message", **line}))
            except ConnectionClosed:
                return  # The next connection begins with this line.
            answer = await answers.get()
            code = answer.get("code")
            if code == "RATE_LIMITED":
                await asyncio.sleep(answer["details"]["retryAfter"])
            elif code in ("UNAVAILABLE", "INTERNAL"):
                await asyncio.sleep(1)
            else:
                if answer["type"] == "error":
                    print(f"not sent ({answer['message']}): {line['content']}", file=sys.stderr)
                self.state.outbox.pop(0)
                self.state.save()


def lines_of_input():
    """Lines as they come, then None. A thread of its own reads them, so that nothing waits for the keyboard."""
    lines, loop = asyncio.Queue(), asyncio.get_running_loop()

    def read():
        for line in open(0, closefd=False):
            loop.call_soon_threadsafe(lines.put_nowait, line.strip())
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()
    return lines


async def main(url, username, file="chat-state.json"):
    chat = Chat(url, State(file))
    lines = lines_of_input()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(chat.run(username, os.environ.get("CHAT_PASSWORD")))
        while (line := await lines.get()) is not None:
            if line:
                chat.say(line)
        await chat.all_sent.wait()
        running.cancel()


if len(sys.argv) < 3:
    sys.exit("usage: CHAT_PASSWORD=… python3 chat.py URL USERNAME [STATE_FILE]")
try:
    asyncio.run(main(*sys.argv[1:]))
except KeyboardInterrupt:
    pass

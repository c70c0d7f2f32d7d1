// Tells a room that one is typing. Only the chat socket can, so it is open while one types.

/** How often it is told, and after how long without it the socket is closed, in milliseconds. */
const AGAIN = 2_000;
const IDLE = 10_000;

const LOBBY = "lobby";

export class Typing {
  #socket?: WebSocket;
  #told = 0;
  #idle = 0;

  constructor(private readonly room: string) {}

  tell() {
    if (Date.now() - this.#told < AGAIN) return;
    this.#told = Date.now();
    clearTimeout(this.#idle);
    this.#idle = window.setTimeout(() => this.close(), IDLE);
    if (this.#socket?.readyState === WebSocket.OPEN) this.#send("typing");
    else if (this.#socket?.readyState !== WebSocket.CONNECTING) this.#open();
  }

  close() {
    clearTimeout(this.#idle);
    this.#told = 0;
    const socket = this.#socket;
    this.#socket = undefined;
    if (socket?.readyState === WebSocket.OPEN) socket.close();
  }

  #open() {
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/chat`);
    this.#socket = socket;
    socket.addEventListener("open", () => {
      if (this.#socket !== socket) return socket.close(); // Closed before it was open.
      // Everyone begins in the lobby.
      if (this.room !== LOBBY) {
        this.#send("leave", LOBBY);
        this.#send("join");
      }
      this.#send("typing");
    });
  }

  #send(type: "join" | "leave" | "typing", room = this.room) {
    this.#socket?.send(JSON.stringify({ type, room }));
  }
}

// One of the things that a console shows, and its connection: what the screen and the serial line have in common.

import { connect } from "./session.js";

// How the cloud closes a socket, see panel/console/socket.rs.
const CLOSED = { 4001: "off", 4002: "away", 4003: "over" };
// Pauses between tries to connect again, milliseconds.
const PAUSES = [1_000, 2_000, 4_000, 8_000];

// States: idle → connecting → open → off | away | lost, from where it connects again; stale, when a part of the page is
// missing; over, the end.
export class Pane extends EventTarget {
    state = "idle";
    reason = "";
    #name;
    #socket = null;
    #timer = 0;
    #tries = 0;

    constructor(name, host) {
        super();
        this.#name = name;
        this.host = host;
    }

    // Connects, whatever is there now.
    async connect() {
        this.close();
        this.#become("connecting");
        // What draws is loaded when it is first needed.
        try {
            await this.load();
        } catch {
            // The cloud is away, or has been updated since the page was loaded.
            this.#become("stale");
            return;
        }
        if (this.state !== "connecting" || this.#socket) return;
        const socket = connect(this.#name);
        this.#socket = socket;
        socket.addEventListener("close", (event) => {
            if (this.#socket === socket) this.#closed(event);
        });
        this.attach(socket);
    }

    // Lets go of the connection.
    close() {
        clearTimeout(this.#timer);
        const socket = this.#socket;
        this.#socket = null;
        this.detach();
        socket?.close();
        this.#become("idle");
    }

    // The connection carries what it is for.
    opened() {
        this.#tries = 0;
        this.#become("open");
    }

    #closed(event) {
        this.#socket = null;
        this.detach();
        this.reason = event.reason;
        this.#become(CLOSED[event.code] ?? "lost");
        if (this.state === "lost" || this.state === "away") {
            const pause = PAUSES[Math.min(this.#tries, PAUSES.length - 1)];
            this.#tries += 1;
            this.#timer = setTimeout(() => this.connect(), pause);
        }
    }

    // Tries no more.
    end() {
        this.close();
        this.#become("over");
    }

    #become(state) {
        this.state = state;
        this.dispatchEvent(new Event("change"));
    }

    // What a pane does: load what draws, attach it to a socket, detach it, take the keyboard, type a text.
    async load() {}
    attach() {}
    detach() {}
    focus() {}
    blur() {}
    async paste() {}
}

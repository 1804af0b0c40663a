// The console's session as the cloud tells of it.

// How often it is asked, milliseconds: while nothing is shown that would tell by itself, and otherwise.
const SOON = 3_000;
const LATER = 20_000;

export class Session extends EventTarget {
    // What the cloud said last; `over` says why there is no session.
    view = null;
    over = null;
    reachable = true;
    #timer = 0;
    #pace = LATER;

    // Asks now, and again from time to time. Says `change` whenever there was an answer, or none.
    async refresh() {
        clearTimeout(this.#timer);
        if (this.over) return;
        try {
            const answer = await fetch("state", { cache: "no-store", credentials: "same-origin" });
            const body = await answer.json();
            if (answer.ok) {
                this.view = body;
                this.reachable = true;
            } else if (body.over) {
                this.over = body;
            } else {
                this.reachable = false;
            }
        } catch {
            this.reachable = false;
        }
        clearTimeout(this.#timer);
        if (!this.over) this.#timer = setTimeout(() => this.refresh(), this.#pace);
        this.dispatchEvent(new Event("change"));
    }

    // Asks more often while something is waited for.
    hurry(wanted) {
        const pace = wanted ? SOON : LATER;
        if (pace === this.#pace) return;
        this.#pace = pace;
        if (wanted && !this.over) {
            clearTimeout(this.#timer);
            this.#timer = setTimeout(() => this.refresh(), pace);
        }
    }
}

// A websocket of this console: `screen` or `serial`.
export function connect(name) {
    const url = new URL(name, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, ["binary"]);
    socket.binaryType = "arraybuffer";
    return socket;
}

// The server's serial line in a terminal, drawn by xterm.js: first what was kept of it, then what it says now.

import { leaves } from "./keys.js";
import { Pane } from "./pane.js";

const encoder = new TextEncoder();
// What is sent in one piece, bytes; the cloud takes 64 KiB at once.
const PIECE = 4096;

export class Serial extends Pane {
    note = "It goes over the serial line as it is.";
    #term = null;
    #fit = null;
    #socket = null;
    // Old output may hold questions to the terminal; their answers must not be typed into the server of today.
    #live = false;

    async load() {
        if (this.#term) return;
        const [{ Terminal }, { FitAddon }] = await Promise.all([import("@xterm/xterm"), import("@xterm/addon-fit")]);
        if (this.#term) return;
        const term = new Terminal({
            fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--fixed"),
            fontSize: matchMedia("(max-width: 560px)").matches ? 12 : 14,
            scrollback: 5_000,
            cursorBlink: true,
            theme: { background: "#0b0f14", foreground: "#dbe3ea", cursor: "#22b8d4", selectionBackground: "#2b5566" },
        });
        this.#term = term;
        this.#fit = new FitAddon();
        term.loadAddon(this.#fit);
        term.open(this.host);
        term.textarea.setAttribute("aria-label", "Serial line of the server. Keys go to the server.");
        term.onData((text) => this.#send(encoder.encode(text)));
        term.onBinary((text) => this.#send(Uint8Array.from(text, (character) => character.charCodeAt(0))));
        // The key that leaves the terminal is the page's.
        term.attachCustomKeyEventHandler((event) => !leaves(event));
        new ResizeObserver(() => this.#resize()).observe(this.host);
        this.#resize();
    }

    #resize() {
        // A hidden terminal has no size.
        if (this.host.clientWidth > 0) this.#fit.fit();
    }

    attach(socket) {
        this.#socket = socket;
        this.#live = false;
        this.#term.reset();
        socket.addEventListener("message", (event) => {
            if (this.#socket !== socket) return;
            if (typeof event.data !== "string") this.#term.write(new Uint8Array(event.data));
            // All that came before is drawn when this is called.
            else if (event.data === "live") this.#term.write("", () => this.#begin(socket));
        });
    }

    #begin(socket) {
        if (this.#socket !== socket) return;
        this.#live = true;
        this.opened();
    }

    detach() {
        this.#socket = null;
        this.#live = false;
    }

    #send(bytes) {
        if (!this.#live || this.#socket?.readyState !== WebSocket.OPEN) return;
        for (let at = 0; at < bytes.length; at += PIECE) this.#socket.send(bytes.subarray(at, at + PIECE));
    }

    focus() {
        this.#term?.focus();
    }

    blur() {
        this.#term?.blur();
    }

    async paste(text) {
        this.#send(encoder.encode(text.replace(/\r\n|\n/g, "\r")));
        return 0;
    }
}

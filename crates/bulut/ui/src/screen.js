// The server's screen, drawn by noVNC.

import { keysOf, type } from "./keys.js";
import { Pane } from "./pane.js";

export class Screen extends Pane {
    note = "It is typed as keys of a US keyboard, since a screen has no clipboard.";
    #RFB = null;
    #rfb = null;

    async load() {
        this.#RFB ??= (await import("@novnc/novnc")).default;
    }

    attach(socket) {
        const rfb = new this.#RFB(this.host, socket, { shared: true });
        rfb.scaleViewport = true;
        rfb.background = "transparent";
        rfb.showDotCursor = true;
        rfb.addEventListener("connect", () => {
            if (this.#rfb !== rfb) return;
            this.#canvas(rfb);
            this.opened();
        });
        this.#rfb = rfb;
    }

    // What a reader of the page is told of the picture.
    #canvas() {
        const canvas = this.host.querySelector("canvas");
        canvas.tabIndex = 0;
        canvas.setAttribute("role", "application");
        canvas.setAttribute("aria-label", "Screen of the server. Keys go to the server.");
    }

    detach() {
        const rfb = this.#rfb;
        this.#rfb = null;
        // It says so itself when its socket has closed already.
        if (rfb) rfb.disconnect();
        this.host.replaceChildren();
    }

    focus() {
        this.#rfb?.focus({ preventScroll: true });
    }

    blur() {
        this.#rfb?.blur();
    }

    ctrlAltDel() {
        this.#rfb?.sendCtrlAltDel();
        this.focus();
    }

    async paste(text, signal, progress) {
        const { found, missing } = keysOf(text);
        if (this.#rfb) await type(this.#rfb, found, signal, (done) => progress(done, found.length));
        return missing;
    }
}

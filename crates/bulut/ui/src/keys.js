// Keys: the one that is the page's own, and text as keys of a US keyboard, which is what a guest takes its keyboard for
// until told otherwise.

const ROWS = [
    ["`1234567890-=", "~!@#$%^&*()_+", "Backquote Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal"],
    ["[]\\", "{}|", "BracketLeft BracketRight Backslash"],
    [";'", ":\"", "Semicolon Quote"],
    [",./", "<>?", "Comma Period Slash"],
    [" ", "", "Space"],
];
const SHIFT = { keysym: 0xffe1, code: "ShiftLeft" };

// How long each key is left to the guest, milliseconds: its keyboard holds only a few that were not read yet.
const PACE = 20;

const keys = new Map([
    ["\n", { keysym: 0xff0d, code: "Enter", shift: false }],
    ["\t", { keysym: 0xff09, code: "Tab", shift: false }],
]);
for (const [plain, shifted, names] of ROWS) {
    names.split(" ").forEach((code, at) => {
        add(plain[at], code, false);
        if (shifted[at]) add(shifted[at], code, true);
    });
}
for (const letter of "abcdefghijklmnopqrstuvwxyz") {
    add(letter, `Key${letter.toUpperCase()}`, false);
    add(letter.toUpperCase(), `Key${letter.toUpperCase()}`, true);
}

function add(character, code, shift) {
    keys.set(character, { keysym: character.codePointAt(0), code, shift });
}

// The keys of a text, and how many of its characters have none.
export function keysOf(text) {
    const characters = [...text.replace(/\r\n?/g, "\n")];
    const found = characters.map((character) => keys.get(character)).filter(Boolean);
    return { found, missing: characters.length - found.length };
}

// Types keys into a screen, one after the other, until done or told to stop. Tells `progress` how many are done.
export async function type(rfb, found, signal, progress) {
    let shift = false;
    const hold = (wanted) => {
        if (wanted !== shift) rfb.sendKey(SHIFT.keysym, SHIFT.code, wanted);
        shift = wanted;
    };
    for (let done = 0; done < found.length && !signal.aborted; done += 1) {
        const key = found[done];
        hold(key.shift);
        rfb.sendKey(key.keysym, key.code);
        progress(done + 1);
        await new Promise((resolve) => setTimeout(resolve, PACE));
    }
    hold(false);
}

// The key that takes the keyboard back from whatever has it: Ctrl+Alt+Shift+M.
export function leaves(event) {
    return event.ctrlKey && event.altKey && event.shiftKey && event.code === "KeyM";
}

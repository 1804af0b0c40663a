// The console's page: tabs, tools, and a line that says in words how things stand.

import { leaves } from "./keys.js";
import { Screen } from "./screen.js";
import { Serial } from "./serial.js";
import { Session } from "./session.js";

const $ = (id) => document.getElementById(id);

// The terminal makes style sheets; the page's policy takes those with its nonce.
const nonce = document.querySelector("link[nonce]").nonce;
const createElement = document.createElement.bind(document);
document.createElement = (name, options) => {
    const element = createElement(name, options);
    if (name === "style") element.nonce = nonce;
    return element;
};

// The link has done its work: what is loaded again is the page of the session.
history.replaceState(null, "", "view");

const session = new Session();
const panes = { screen: new Screen("screen", $("panel-screen")), serial: new Serial("serial", $("panel-serial")) };
let shown = "screen";
// Text that is being typed, if any.
let typing = null;
// What the status line says for a while instead of how things stand.
let remark = "";

const POWER = {
    running: ["Running", "good"],
    stopping: ["Stopping", "wait"],
    stopped: ["Off", ""],
};

// How things stand: colour of the dot, the line at the foot, and where nothing can be shown, what covers the stage.
function standing() {
    const pane = panes[shown];
    const name = session.view?.name ?? "the server";
    const line = shown === "screen" ? "screen" : "serial line";
    if (session.over) {
        const { over, sentence } = session.over;
        const [icon, title] = over === "server_gone" ? ["off", "The server is gone"] : ["over", "This console has ended"];
        const advice = over === "server_gone" ? "" : " Ask for a new link where you got this one from.";
        return { dot: "bad", line: sentence, cover: [icon, title, sentence + advice, false] };
    }
    if (pane.state === "open") return { dot: "good", line: `Connected to the ${line} of ${name}.` };
    if (!session.reachable || pane.state === "lost") {
        return { dot: "wait", line: "The connection was lost; connecting again…", cover: ["lost", "Connection lost", "Connecting again by itself. Nothing happens to the server meanwhile.", true] };
    }
    if (pane.state === "stale") {
        return { dot: "bad", line: "A part of this page could not be loaded.", cover: ["lost", "A part of this page is missing", "Load the page again; the session stays open.", true] };
    }
    if (pane.state === "away") {
        return { dot: "wait", line: "The machine does not answer; trying again…", cover: ["lost", "The machine does not answer", "Trying again by itself.", true] };
    }
    if (session.view?.phase === "building") {
        return { dot: "wait", line: `${name} is being made…`, cover: ["off", "Not there yet", `${name} is being made. Its ${line} comes up here when it starts.`, false] };
    }
    if (pane.state === "off" || session.view?.power === "stopped") {
        return { dot: "", line: `${name} is off.`, cover: ["off", `${name} is off`, shown === "screen" ? "Its screen comes back here when it is started. The tab Serial shows its last words." : "These are its last words. The line comes back when it is started.", false] };
    }
    return { dot: "wait", line: `Connecting to the ${line} of ${name}…` };
}

function draw() {
    const { dot, line, cover } = standing();
    const pane = panes[shown];
    $("dot").className = dot;
    $("status").textContent = remark || line;
    $("cover").hidden = !cover;
    if (cover) {
        const [icon, title, text, again] = cover;
        $("cover").classList.toggle("aside", shown === "serial");
        $("cover-icon").setAttribute("href", `#icon-${icon}`);
        $("cover-title").textContent = title;
        $("cover-text").textContent = text;
        $("cover-button").hidden = !again;
    }
    const open = pane.state === "open" && !session.over;
    $("ctrl-alt-del").disabled = !open || shown !== "screen";
    $("paste").disabled = !open && !typing;
    $("reconnect").disabled = Boolean(session.over);
    session.hurry(!open);
    if (!session.view) return;
    document.title = `${session.view.name} – console`;
    $("name").textContent = session.view.name;
    const [word, colour] = session.view.phase === "building" ? ["Being made", "wait"] : POWER[session.view.power];
    $("power").hidden = Boolean(session.over);
    $("power").textContent = word;
    $("power").className = `pill ${colour}`;
    const end = new Date(session.view.ends_at);
    $("until").textContent = session.over ? "" : `Open until ${end.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}`;
}

// Says something for a moment.
function tell(text, forgetAfter = 6_000) {
    remark = text;
    draw();
    if (forgetAfter) setTimeout(() => remark === text && tell("", 0), forgetAfter);
}

session.addEventListener("change", () => {
    if (session.over) {
        for (const pane of Object.values(panes)) if (pane.state !== "over") pane.end();
    }
    const pane = panes[shown];
    // A server that was off and runs now is connected to by itself.
    if (pane.state === "off" && session.view?.power === "running") pane.connect();
    draw();
});

for (const [name, pane] of Object.entries(panes)) {
    pane.addEventListener("change", () => {
        if (["off", "away", "lost", "over"].includes(pane.state)) session.refresh();
        if (pane.state !== "open") typing?.abort();
        if (name !== shown) return;
        if (pane.state === "open" && !$("paste-dialog").open && !keyboardIsInBar()) pane.focus();
        draw();
    });
}

// Whoever walks through the bar by keyboard is left there.
function keyboardIsInBar() {
    return document.activeElement?.matches("header :focus-visible") ?? false;
}

// Tabs, as the ARIA patterns want them: arrows move between them.
const tabs = Object.keys(panes);

function show(name) {
    shown = name;
    remark = "";
    for (const other of tabs) {
        const chosen = other === name;
        $(`tab-${other}`).setAttribute("aria-selected", String(chosen));
        $(`tab-${other}`).tabIndex = chosen ? 0 : -1;
        $(`panel-${other}`).hidden = !chosen;
    }
    if (["idle", "off"].includes(panes[name].state) && !session.over) panes[name].connect();
    draw();
}

for (const name of tabs) {
    const tab = $(`tab-${name}`);
    tab.addEventListener("click", () => {
        show(name);
        panes[name].focus();
    });
    tab.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1, Home: -tabs.indexOf(name), End: tabs.length - 1 - tabs.indexOf(name) }[event.key];
        if (step === undefined) return;
        event.preventDefault();
        const next = tabs[(tabs.indexOf(name) + step + tabs.length) % tabs.length];
        show(next);
        $(`tab-${next}`).focus();
    });
}

// Tools

$("ctrl-alt-del").addEventListener("click", () => {
    panes.screen.ctrlAltDel();
    tell("Ctrl-Alt-Del was sent.");
});

function again() {
    if (panes[shown].state === "stale") location.reload();
    panes[shown].connect();
    session.refresh();
}
$("reconnect").addEventListener("click", again);
$("cover-button").addEventListener("click", again);

$("full-screen").addEventListener("click", async () => {
    try {
        if (document.fullscreenElement) await document.exitFullscreen();
        else await document.documentElement.requestFullscreen();
        panes[shown].focus();
    } catch {
        tell("This browser does not let the page fill the screen.");
    }
});
document.addEventListener("fullscreenchange", () => {
    $("full-screen").querySelector("span").textContent = document.fullscreenElement ? "Leave full screen" : "Full screen";
});

$("paste").addEventListener("click", () => {
    if (typing) {
        typing.abort();
        return;
    }
    $("paste-note").textContent = panes[shown].note;
    $("paste-text").value = "";
    $("paste-dialog").returnValue = "";
    $("paste-dialog").showModal();
    $("paste-text").focus();
});

$("paste-dialog").addEventListener("close", () => {
    const text = $("paste-text").value;
    // What was pasted may be a password: it does not stay in the page.
    $("paste-text").value = "";
    if ($("paste-dialog").returnValue === "type" && text) typeText(text);
    else panes[shown].focus();
});

// Ctrl+Enter in the text is the button.
$("paste-text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("paste-go").click();
});

async function typeText(text) {
    const pane = panes[shown];
    const label = $("paste").querySelector("span");
    const icon = $("paste").querySelector("use");
    typing = new AbortController();
    label.textContent = "Stop typing";
    icon.setAttribute("href", "#icon-stop");
    pane.focus();
    const { signal } = typing;
    const missing = await pane.paste(text, signal, (done, all) => {
        if (done % 10 === 1) tell(`Typing ${done} of ${all}…`, 0);
    });
    typing = null;
    label.textContent = "Paste";
    icon.setAttribute("href", "#icon-paste");
    if (signal.aborted) tell("Typing was stopped.");
    else if (missing) tell(`Typed, but ${missing === 1 ? "one character has" : `${missing} characters have`} no key on a US keyboard and ${missing === 1 ? "was" : "were"} left out.`, 15_000);
    else tell("The text was typed.");
}

// The way out for whoever has no mouse: the screen and the terminal take every other key.
window.addEventListener(
    "keydown",
    (event) => {
        if (!leaves(event)) return;
        event.preventDefault();
        event.stopPropagation();
        panes[shown].blur();
        $(`tab-${shown}`).focus();
    },
    { capture: true },
);
for (const pane of Object.values(panes)) {
    pane.host.addEventListener("focusin", () => ($("hint").hidden = false));
    pane.host.addEventListener("focusout", () => ($("hint").hidden = true));
}

// A page that comes back from the background looks at once.
document.addEventListener("visibilitychange", () => {
    if (!document.hidden) session.refresh();
});

show("screen");
session.refresh();

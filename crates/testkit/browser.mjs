// A browser for the tests: each line of standard input is a call of playwright's page or context, each line of standard
// output its answer. Ends when standard input does.
//
//     node browser.mjs '{"program": …, "profile": …, "arguments": […], "context": {…}}'
//     {"call": "page.goto", "arguments": ["http://…"]}   →   {"answer": …} or {"failure": "…"}
//
// `trouble` answers what went wrong in the pages so far: errors of scripts and what the browser complained about. `type`
// types a text on a US keyboard.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const require = createRequire(fileURLToPath(new URL("../bulut/ui/package.json", import.meta.url)));
const { chromium } = require("playwright-core");
const wishes = JSON.parse(process.argv[2]);

const context = await chromium.launchPersistentContext(wishes.profile, {
    executablePath: wishes.program,
    chromiumSandbox: false,
    args: wishes.arguments,
    ...wishes.context,
});
const page = context.pages()[0] ?? (await context.newPage());
const trouble = [];
page.on("pageerror", (error) => trouble.push(`error: ${error.message}`));
page.on("console", (message) => {
    if (message.type() === "error") trouble.push(`console: ${message.text()} (${message.location().url})`);
});

// A person holds Shift for what stands above a key; playwright's own typing does not.
async function type(text) {
    for (const character of text) {
        const shifted = /[A-Z~!@#$%^&*()_+{}|:"<>?]/.test(character);
        if (shifted) await page.keyboard.down("Shift");
        await page.keyboard.press(character === "\n" ? "Enter" : character, { delay: 20 });
        if (shifted) await page.keyboard.up("Shift");
    }
}

async function call(name, given) {
    if (name === "trouble") return trouble;
    if (name === "type") return type(...given);
    const path = name.split(".");
    const method = path.pop();
    const owner = path.reduce((object, part) => object[part], { page, context });
    const answer = await owner[method](...given);
    // What cannot be told in JSON, such as a response, is told by what can.
    return typeof answer?.status === "function" ? { status: answer.status() } : answer;
}

for await (const line of createInterface({ input: process.stdin })) {
    const wish = JSON.parse(line);
    let said;
    try {
        said = { answer: (await call(wish.call, wish.arguments)) ?? null };
        JSON.stringify(said);
    } catch (error) {
        said = { failure: String(error.message ?? error) };
    }
    process.stdout.write(`${JSON.stringify(said)}\n`);
}
await context.close();

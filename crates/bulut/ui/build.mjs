// Makes what the program carries of the pages: `node build.mjs OUT` writes OUT/assets (scripts, styles and images, each
// named by its content, and compressed beside it), OUT/pages (HTML that names them) and OUT/fonts (what PDFs are set in).
//
// The same sources and the same packages give the same bytes.

import { build } from "esbuild";
import { copyFileSync, readFileSync, readdirSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";

const out = process.argv[2];
if (!out) {
    console.error("usage: node build.mjs OUT");
    process.exit(2);
}
const here = fileURLToPath(new URL(".", import.meta.url));
const assets = join(out, "assets");
const pages = join(out, "pages");
rmSync(out, { recursive: true, force: true });
mkdirSync(pages, { recursive: true });

// Their licences ask to be named where their code goes.
const credits = ["@novnc/novnc", "@xterm/xterm", "@xterm/addon-fit"].map((name) => {
    const about = JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8"));
    return `${name} ${about.version} (${about.license}, https://www.npmjs.com/package/${name})`;
});

const result = await build({
    absWorkingDir: here,
    entryPoints: ["src/console.js", "src/console.css", "src/notice.css", "src/icon.svg"],
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    outdir: assets,
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    minify: true,
    legalComments: "none",
    banner: { js: `/*! With parts of ${credits.join(", ")} */` },
    loader: { ".svg": "copy" },
    metafile: true,
    logLevel: "warning",
});

// `console.css` in a page stands for the file that it became.
const names = {};
for (const [path, made] of Object.entries(result.metafile.outputs)) {
    if (made.entryPoint) names[basename(made.entryPoint)] = basename(path);
}
// `<!-- head: A title -->` in a page stands for the head that notices share.
const head = readFileSync(join(here, "src/parts/head.html"), "utf8");
for (const page of readdirSync(join(here, "src")).filter((name) => name.endsWith(".html"))) {
    const text = readFileSync(join(here, "src", page), "utf8");
    const whole = text.replace(/^ *<!-- head: (.*) -->\n/m, (_, title) => head.replace("TITLE", () => title));
    const linked = whole.replace(/\/assets\/([\w.-]+)/g, (_, name) => {
        if (!names[name]) throw new Error(`${page} names ${name}, which is not built`);
        return `/assets/${names[name]}`;
    });
    writeFileSync(join(pages, page), linked);
}

for (const name of readdirSync(assets)) {
    const bytes = readFileSync(join(assets, name));
    const packed = brotliCompressSync(bytes, {
        params: {
            [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
            [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
        },
    });
    if (packed.length < bytes.length) writeFileSync(join(assets, `${name}.br`), packed);
}

// Each file names its licence (the SIL Open Font License) in its own name table, as that asks for.
const fonts = join(out, "fonts");
mkdirSync(fonts);
for (const [style, name] of [["400Regular", "regular.ttf"], ["600SemiBold", "bold.ttf"]]) {
    const file = `IBMPlexSans_${style}.ttf`;
    copyFileSync(join(here, "node_modules/@expo-google-fonts/ibm-plex-sans", style, file), join(fonts, name));
}

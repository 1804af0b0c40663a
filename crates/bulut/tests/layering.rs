//! Holds the edges of the house: which crate may know which, which folder may name what, and the habits that a
//! compiler does not check.
//!
//! Reads the sources as text, so that a rule holds for code behind every feature and every `cfg`. Comments and string
//! literals are told from code by a small scanner, which has tests of its own below.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may panic as the test may")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What of ours each crate may depend on. A new crate has to be entered here: that is the decision.
const EDGES: &[(&str, &[&str])] = &[
    ("bulut-model", &[]),
    ("bulut-store", &["bulut-model"]),
    ("bulut-compute", &["bulut-model"]),
    ("bulut-dns", &[]),
    ("bulut", &["bulut-model", "bulut-store", "bulut-compute", "bulut-dns"]),
    ("bulut-testkit", &["bulut", "bulut-model", "bulut-store", "bulut-compute"]),
    ("bulut-bench", &["bulut", "bulut-testkit", "bulut-model", "bulut-store", "bulut-compute"]),
];

/// What a crate must not take from outside, at run time.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "bulut-model",
        &["axum", "hyper", "http", "tower", "tokio", "sea-orm", "sqlx", "reqwest", "async-trait", "rand"],
    ),
    ("bulut-store", &["axum", "hyper", "http", "tower", "reqwest", "clap"]),
    ("bulut-compute", &["axum", "hyper", "http", "tower", "reqwest", "sea-orm", "sqlx", "clap"]),
    ("bulut-dns", &["axum", "hyper", "http", "tower", "reqwest", "sea-orm", "sqlx", "clap"]),
    ("bulut", &["sea-orm", "sqlx"]),
    ("bulut-testkit", &["sea-orm", "sqlx"]),
    ("bulut-bench", &["sea-orm", "sqlx"]),
];

/// Where HTTP types may be named: the dialects, the panel, and what drives them from outside.
const HTTP_ROOMS: &[&str] = &["bulut/src/api/", "bulut/src/panel/", "testkit/src/", "bench/src/"];

/// The rooms that work with any compute engine.
const ENGINE_BLIND: &[&str] = &[
    "bulut/src/api/",
    "bulut/src/panel/",
    "bulut/src/domain/",
    "bulut/src/operations/",
    "bulut/src/reconcile/",
];

const MAX_LINES: usize = 600;

struct Source {
    /// Relative to `crates/`, with `/`; those of the benchmarks begin with `bench/`.
    path: String,
    text: String,
}

impl Source {
    fn is_in(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| self.path.starts_with(room))
    }

    /// Integration tests, benchmarks and test modules in files of their own.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.contains("/benches/") || self.path.ends_with("tests.rs")
    }

    /// The text up to the test module, which by habit stands last.
    fn before_tests(&self) -> &str {
        if self.is_test() {
            return "";
        }
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
    }

    /// `path:line: word` for each of the words that stands in `code`, a text with the same lines as ours.
    fn offences(&self, code: &str, words: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        for (number, line) in code.lines().enumerate() {
            for word in words.iter().filter(|word| names(line, word)) {
                found.push(format!("{}:{}: {word}", self.path, number + 1));
            }
        }
        found
    }
}

fn crates_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates/bulut has a parent").to_owned()
}

/// The benchmarks' crate, which stands beside `crates/`.
fn bench_dir() -> PathBuf {
    crates_dir().parent().expect("crates/ has a parent").join("bench")
}

fn sources() -> Vec<Source> {
    let crates = crates_dir();
    let beside = bench_dir().parent().expect("bench/ has a parent").to_owned();
    let mut found = Vec::new();
    let mut folders = vec![crates.clone(), bench_dir()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&crates).or_else(|_| path.strip_prefix(&beside)).unwrap();
                let path = path.to_string_lossy().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "only {} sources were found under {}", found.len(), crates.display());
    found
}

fn assert_none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}\n  {}", offences.join("\n  "));
}

/// Whether `line` holds `word` at the start of a name: `http::` is not in `reqwest_http::` nor in `my::http::`, but is
/// in `::http::`.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].trim_end_matches("::");
        // A leading `::` is the root of all paths; behind a name it makes the word a part of that name's path.
        !before.ends_with(|last: char| last.is_alphanumeric() || last == '_')
    })
}

/// What the scanner leaves in place; everything else becomes blanks, line breaks stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Code,
    Strings,
}

/// Blanks the comments of `text`, and its string literals or all but them.
fn scan(text: &str, keep: Keep) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (kind, length) = token(rest, out.chars().last());
        let (piece, after) = rest.split_at(length);
        if Some(keep) == kind {
            out.push_str(piece);
        } else {
            out.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    out
}

/// The kind and the length in bytes of what `rest` begins with; comments have no kind.
fn token(rest: &str, before: Option<char>) -> (Option<Keep>, usize) {
    let bytes = rest.as_bytes();
    if rest.starts_with("//") {
        return (None, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (None, block_comment(rest));
    }
    if bytes[0] == b'"' {
        return (Some(Keep::Strings), quoted(rest));
    }
    if bytes[0] == b'r' && !before.is_some_and(|c| c.is_alphanumeric() && c != 'b' && c != 'c' || c == '_') {
        let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        if bytes.get(1 + hashes) == Some(&b'"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let body = 2 + hashes;
            return (
                Some(Keep::Strings),
                rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len()),
            );
        }
    }
    // A character literal may be a quote; a lifetime has no closing apostrophe close by.
    for literal in ["'\"'", "'\\\"'", "'\\''"] {
        if rest.starts_with(literal) {
            return (Some(Keep::Code), literal.len());
        }
    }
    (Some(Keep::Code), rest.chars().next().map_or(1, char::len_utf8))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The names of the packages in the tables of this kind, platform-specific ones too.
fn dependencies(manifest: &toml::Table, kinds: &[&str]) -> Vec<String> {
    let mut tables = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    let mut found = Vec::new();
    for table in tables {
        for dependencies in kinds.iter().filter_map(|kind| table.get(*kind)).filter_map(toml::Value::as_table)
        {
            for (name, value) in dependencies {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                found.push(renamed.unwrap_or(name).to_owned());
            }
        }
    }
    found
}

/// The crates of the workspace by package name.
fn manifests() -> BTreeMap<String, toml::Table> {
    let mut found = BTreeMap::new();
    let crates = fs::read_dir(crates_dir()).unwrap().map(|entry| entry.unwrap().path());
    for folder in crates.chain([bench_dir()]) {
        let path = folder.join("Cargo.toml");
        if let Ok(text) = fs::read_to_string(&path) {
            let manifest: toml::Table =
                text.parse().unwrap_or_else(|why| panic!("{}: {why}", path.display()));
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            found.insert(name, manifest);
        }
    }
    found
}

#[test]
fn crates_depend_on_each_other_only_along_the_edges() {
    let manifests = manifests();
    let mut offences = Vec::new();
    for (name, manifest) in &manifests {
        let Some((_, allowed)) = EDGES.iter().find(|(crate_name, _)| crate_name == name) else {
            offences.push(format!("{name}: say in EDGES what it may depend on"));
            continue;
        };
        for ours in dependencies(manifest, &["dependencies", "build-dependencies"]) {
            if manifests.contains_key(&ours) && !allowed.contains(&ours.as_str()) {
                offences.push(format!("{name} depends on {ours}"));
            }
        }
        for ours in dependencies(manifest, &["dev-dependencies"]) {
            // Only the tests of the application use the kit that is built on it.
            let kit = name == "bulut" && ours == "bulut-testkit";
            if manifests.contains_key(&ours) && !allowed.contains(&ours.as_str()) && !kit {
                offences.push(format!("the tests of {name} depend on {ours}"));
            }
        }
    }
    assert_eq!(manifests.len(), EDGES.len(), "EDGES names a crate that is not there");
    assert_none(&offences, "a crate exists only to forbid a dependency");
}

#[test]
fn crates_take_nothing_from_outside_that_their_room_forbids() {
    let mut offences = Vec::new();
    for (name, manifest) in manifests() {
        let forbidden =
            FORBIDDEN.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, list)| list);
        for dependency in dependencies(&manifest, &["dependencies"]) {
            if forbidden.contains(&dependency.as_str()) {
                offences.push(format!("{name} depends on {dependency}"));
            }
        }
    }
    assert_none(&offences, "HTTP ends in the application, SQL in the store, and the model is pure");
}

const HTTP_WORDS: &[&str] = &["axum::", "use axum", "hyper::", "tower::", "tower_http::", "http::"];

#[test]
fn http_types_are_named_only_by_the_dialects_and_the_panel() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| !source.is_in(HTTP_ROOMS)) {
        offences.extend(source.offences(&scan(source.before_tests(), Keep::Code), HTTP_WORDS));
    }
    assert_none(&offences, "HTTP types stay in api/ and panel/: the verbs have no idea how they were asked");
}

const SQL_WORDS: &[&str] =
    &["SELECT ", "INSERT INTO ", "INSERT OR ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "ALTER TABLE "];

#[test]
fn sql_is_written_only_in_the_store() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| !source.is_in(&["store/", "bulut/tests/layering.rs"])) {
        offences.extend(source.offences(&scan(&source.text, Keep::Strings), SQL_WORDS));
        offences.extend(
            source.offences(
                &scan(&source.text, Keep::Code),
                &["sea_orm::", "use sea_orm", "sqlx::", "use sqlx"],
            ),
        );
    }
    assert_none(&offences, "every SQL statement is in crates/store");
}

#[test]
fn the_verbs_do_not_know_the_engine() {
    let mut offences = Vec::new();
    for source in sources().iter().filter(|source| source.is_in(ENGINE_BLIND)) {
        let words = ["bulut_compute::qemu", "bulut_compute::simulated", "QemuDriver", "QemuConfig"];
        offences.extend(source.offences(&scan(source.before_tests(), Keep::Code), &words));
    }
    assert_none(&offences, "which engine runs the machines is the business of app.rs and the driver alone");
}

#[test]
fn only_output_rs_prints() {
    let mut offences = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| !source.is_in(&["bulut/src/cli/output.rs", "bench/src/output.rs", "testkit/src/"]))
    {
        let words = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
        offences.extend(source.offences(&scan(source.before_tests(), Keep::Code), &words));
    }
    assert_none(&offences, "output.rs is the only printer; all else is a log line");
}

#[test]
fn every_file_says_first_what_it_is() {
    let offences: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.starts_with("//! "))
        .map(|source| source.path.clone())
        .collect();
    assert_none(
        &offences,
        "every file opens with `//!`: which room, what it promises, what it must not know",
    );
}

#[test]
fn no_file_is_longer_than_a_reader_bears() {
    let mut offences = Vec::new();
    for source in sources() {
        let lines = source.before_tests().lines().count();
        if lines > MAX_LINES {
            offences.push(format!("{}: {lines} lines without its tests", source.path));
        }
    }
    assert_none(&offences, "a file is about 600 lines at most, then split by idea");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let macros = [concat!("to", "do!"), concat!("unimple", "mented!")];
    let mut offences = Vec::new();
    for source in sources() {
        offences.extend(source.offences(&source.text, &marks));
        offences.extend(source.offences(&scan(&source.text, Keep::Code), &macros));
    }
    assert_none(&offences, "what is not done is an issue, not a comment");
}

#[test]
fn the_scanner_tells_code_from_strings_and_comments() {
    let text = concat!(
        "use axum::Router; // use hyper::Body\n",
        "let s = \"SELECT \\\" 1 // not a comment\"; /* println!(\"a /* b */ c\") */ let t = 1;\n",
        "let r = r#\"INSERT INTO \"x\" \"#; let c = '\"'; let d: &'static str = \"http::\";\n",
    );
    let code = scan(text, Keep::Code);
    let strings = scan(text, Keep::Strings);
    assert!(code.contains("use axum::Router;") && !code.contains("hyper"));
    assert!(code.contains("let t = 1;") && !code.contains("println"));
    assert!(code.contains("let d: &'static str =") && !code.contains("http::"));
    assert!(
        strings.contains("SELECT ")
            && strings.contains("// not a comment")
            && strings.contains("INSERT INTO \"x\"")
    );
    assert!(!strings.contains("let") && !strings.contains("axum"));
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn a_word_is_found_only_where_a_name_begins() {
    assert!(names("use http::StatusCode;", "http::"));
    assert!(names("fn f() -> ::http::Uri {", "http::"));
    assert!(!names("use reqwest::http::Uri;", "http::"));
    assert!(!names("tower_http::trace()", "http::"));
    assert!(!names("eprintln!(\"\")", "println!"));
    assert!(names("    println!(\"\")", "println!"));
}

#[test]
fn offences_carry_their_place() {
    let source = Source {
        path: "bulut/src/domain/x.rs".into(),
        text: "//! x\nuse axum::Json;\n\n#[cfg(test)]\nmod tests { use axum::Json; }".into(),
    };
    let found = source.offences(&scan(source.before_tests(), Keep::Code), HTTP_WORDS);
    assert_eq!(found, ["bulut/src/domain/x.rs:2: axum::", "bulut/src/domain/x.rs:2: use axum"]);
}

#[test]
fn renamed_and_platform_dependencies_are_seen() {
    let manifest: toml::Table =
        "[dependencies]\nweb = { package = \"axum\", version = \"1\" }\n[target.'cfg(unix)'.dependencies]\nsqlx = \"1\""
            .parse()
            .unwrap();
    assert_eq!(dependencies(&manifest, &["dependencies"]), ["axum", "sqlx"]);
}

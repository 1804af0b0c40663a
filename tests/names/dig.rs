//! Asking a server of names with the program that everybody asks with.

use std::net::SocketAddr;
use std::process::Command;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// `NOERROR`, `NXDOMAIN`, `REFUSED` …; empty without an answer.
    pub status: String,
    /// `qr aa rd` …
    pub flags: Vec<String>,
    /// Values of the answer's records, as in a zone's file.
    pub values: Vec<String>,
    /// Types of the records that came with it.
    pub authority: Vec<String>,
    /// All of it.
    pub text: String,
}

/// Asks the server at `at`; `arguments` as on dig's command line.
pub fn dig(at: SocketAddr, arguments: &str) -> Said {
    let mut dig = Command::new("dig");
    dig.arg(format!("@{}", at.ip())).args(["-p", &at.port().to_string(), "+tries=2", "+time=5"]);
    let output = dig.args(arguments.split(' ')).output().expect("dig runs; it is in Debian's bind9-dnsutils");
    read(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn read(text: String) -> Said {
    let header = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(";; ") && line.contains(name))?;
        let (_, rest) = line.split_once(name)?;
        Some(rest.split([',', ';']).next()?.trim().to_owned())
    };
    let section = |name: &str| -> Vec<Vec<String>> {
        let head = format!(";; {name} SECTION:");
        let lines = text.lines().skip_while(|line| *line != head).skip(1);
        let lines = lines.take_while(|line| !line.is_empty() && !line.starts_with(';'));
        lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    Said {
        status: header("status:").unwrap_or_default(),
        flags: header("flags:").unwrap_or_default().split(' ').map(str::to_owned).collect(),
        values: section("ANSWER").into_iter().map(|fields| fields[4..].join(" ")).collect(),
        authority: section("AUTHORITY").into_iter().map(|fields| fields[3].clone()).collect(),
        text,
    }
}

/// The serial of a zone.
pub fn serial(at: SocketAddr, zone: &str) -> u32 {
    let said = dig(at, &format!("{zone} SOA"));
    let value = said.values.first().unwrap_or_else(|| panic!("no start of authority: {}", said.text));
    value.split(' ').nth(2).and_then(|serial| serial.parse().ok()).expect("a serial")
}

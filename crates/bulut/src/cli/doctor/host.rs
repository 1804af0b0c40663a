//! Room: the command line. The doctor's look at the host: clock, limits, space, ports.

use super::Finding;
use crate::cli::session;
use crate::config::Config;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// With less than this nothing works for long, bytes.
const LEAST_SPACE: u64 = 2 << 30;
/// With less than this a few servers fill the disk, bytes.
const LITTLE_SPACE: u64 = 20 << 30;
/// Files that a cloud with some hundred servers has open.
const FILES: u64 = 4096;
/// No clock that is right is before the year 2026.
const PLAUSIBLE: i64 = 1_767_225_600;

/// Checks the host.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![rights(), space(&config.state), clock().await, files()];
    findings.push(port(config.listen).await);
    findings
}

fn rights() -> Finding {
    if nix::unistd::geteuid().is_root() {
        return Finding::ok("rights", "root: each machine runs as a user of its own, with limits");
    }
    Finding::warn(
        "rights",
        "no root: machines run as this user, without limits of their own",
        "good for one person; for customers, run as root",
    )
}

/// The file system on which the state is, or will be.
fn space(state: &Path) -> Finding {
    let there = state.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    match statvfs(there) {
        Ok(found) => judge_space(found.blocks_available() * found.fragment_size(), state),
        Err(why) => Finding::fail(
            "disk space",
            format!("cannot look at {}: {why}", there.display()),
            "check the disk",
        ),
    }
}

fn judge_space(free: u64, state: &Path) -> Finding {
    let found = format!("{:.1} GiB free for {}", free as f64 / f64::from(1 << 30), state.display());
    let mend = "make room, or choose another directory with --state or BULUT_STATE";
    if free < LEAST_SPACE {
        return Finding::fail("disk space", found, mend);
    }
    if free < LITTLE_SPACE {
        Finding::warn("disk space", found, mend)
    } else {
        Finding::ok("disk space", found)
    }
}

async fn clock() -> Finding {
    let now = session::now();
    if now < PLAUSIBLE {
        let found = format!("it says {}", bulut_model::Timestamp::from_unix_seconds(now).wire());
        return Finding::fail("clock", found, "set the clock: tokens, certificates and bills depend on it");
    }
    let mend = "apt-get install systemd-timesyncd, or chrony";
    let asked = tokio::process::Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .kill_on_drop(true)
        .output();
    let said = match tokio::time::timeout(Duration::from_secs(5), asked).await {
        Ok(Ok(output)) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => String::new(),
    };
    match said.as_str() {
        "yes" => Finding::ok("clock", "synchronised"),
        "no" => Finding::warn("clock", "not synchronised", mend),
        // In a container the clock is the host's, and nobody tells.
        _ => Finding::ok("clock", "plausible; nothing here tells whether it is synchronised"),
    }
}

fn files() -> Finding {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard < FILES => Finding::warn(
            "open files",
            format!("at most {hard}"),
            format!("raise the limit to {FILES} (ulimit -n, LimitNOFILE=)"),
        ),
        Ok((soft, _)) if soft < 1024 => {
            Finding::warn("open files", format!("{soft} at the moment"), format!("ulimit -n {FILES}"))
        }
        Ok((soft, hard)) => Finding::ok("open files", format!("{soft}, at most {hard}")),
        Err(why) => Finding::warn("open files", format!("the limit is not known: {why}"), "check ulimit -n"),
    }
}

async fn port(listen: SocketAddr) -> Finding {
    let why = match tokio::net::TcpListener::bind(listen).await {
        Ok(_) => return Finding::ok("port", format!("{listen} is free")),
        Err(why) => why,
    };
    if why.kind() == std::io::ErrorKind::AddrInUse && serves(listen).await {
        return Finding::ok("port", format!("a cloud serves {listen} already"));
    }
    let mend = "choose another with --listen or BULUT_LISTEN, or stop what listens there";
    Finding::fail("port", format!("cannot listen on {listen}: {why}"), mend)
}

/// Whether what listens there answers as a cloud does.
async fn serves(listen: SocketAddr) -> bool {
    let mut reach = listen;
    if reach.ip().is_unspecified() {
        reach.set_ip(if reach.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let client =
        reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(Duration::from_secs(3)).build();
    let Ok(client) = client else { return false };
    match client.get(format!("http://{reach}/healthz")).send().await {
        Ok(answer) => {
            answer.status().is_success() && answer.text().await.is_ok_and(|text| text.trim() == "ok")
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn space_is_judged_by_what_is_free() {
        let level = |free: u64| judge_space(free, Path::new("/x")).level;
        assert_eq!((level(1 << 30), level(5 << 30), level(100 << 30)), (Level::Fail, Level::Warn, Level::Ok));
    }

    #[tokio::test]
    async fn a_port_is_free_or_ours_or_somebody_elses() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(port(free).await.level, Level::Ok);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/healthz", axum::routing::get(|| async { "ok\n" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        assert!(port(ours).await.found.contains("serves"));
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = other.local_addr().unwrap();
        drop(tokio::spawn(async move { while other.accept().await.is_ok() {} }));
        assert_eq!(port(theirs).await.level, Level::Fail);
    }
}

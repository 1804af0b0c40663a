//! From the order of a guest to its ssh banner, beside the very same QEMU command run by hand.
//!
//! By hand means: `qemu-img create` of the disk, then QEMU with the arguments that the program gave it, on a copy
//! of the same seed, with sockets, disk and forwarded port of its own. Must not know: what the arguments mean,
//! beyond those that name files and the port.

use crate::clouds;
use crate::figures::{median, time};
use crate::output::{Goal, Line, say};
use anyhow::{Context as _, ensure};
use bulut_testkit::program::Program;
use serde_json::Value;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Pairs of boots.
const PAIRS: usize = 7;
/// How long a guest may take to its banner.
const BOOT: Duration = Duration::from_secs(180);
/// How long one knock at the port waits. A guest without a network yet swallows the knock, and only a new one
/// is heard; so this bounds how late the banner is seen, the same on both sides.
const KNOCK: Duration = Duration::from_millis(250);
/// Between looks at the API or knocks that were turned away.
const PAUSE: Duration = Duration::from_millis(20);
/// Where the forwarded port stands on QEMU's command line.
const FORWARD: &[u8] = b"hostfwd=tcp:127.0.0.1:";
const GOAL: Goal = Goal::AtMost(1.05);

/// Measures.
pub async fn measure(binary: &str) -> anyhow::Result<Line> {
    say(&format!("create → ssh banner: {PAIRS} pairs of boots of the tiny guest, in turns"));
    let settings = [("BULUT_NETWORKING", "user"), ("BULUT_LOG", clouds::LOG)];
    let program = Program::start(binary, "tiny", None, &settings).await;
    // The first order warms the caches, and tells what to do by hand.
    let ordered = Instant::now();
    let (id, event) = order(&program).await?;
    banner(port(&program, id).await?, ordered).await?;
    program.succeeded(&event).await;
    let hand = Hand::learn(&program, id).await.context("the command by hand")?;
    program.destroy(id).await;
    hand.boot().await?;
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let (ours, by_hand) = if pair % 2 == 0 {
            let ours = through_api(&program).await?;
            (ours, hand.boot().await?)
        } else {
            let by_hand = hand.boot().await?;
            (through_api(&program).await?, by_hand)
        };
        let ratio = ours.as_secs_f64() / by_hand.as_secs_f64();
        say(&format!("  {} beside {}: {ratio:.3}", time(ours), time(by_hand)));
        pairs.push((ours.as_secs_f64(), by_hand.as_secs_f64()));
    }
    let of = |figure: fn(&(f64, f64)) -> f64| {
        median(&pairs.iter().map(figure).collect::<Vec<_>>()).unwrap_or_default()
    };
    Ok(Line {
        what: "create → ssh banner, tiny guest".into(),
        ours: time(Duration::from_secs_f64(of(|pair| pair.0))),
        peer: format!("by hand: {}", time(Duration::from_secs_f64(of(|pair| pair.1)))),
        figure: Some((of(|pair| pair.0 / pair.1), "")),
        goal: GOAL,
    })
}

/// One boot through the API, from the request to the banner.
async fn through_api(program: &Program) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let (id, event) = order(program).await?;
    let took = banner(port(program, id).await?, begun).await?;
    program.succeeded(&event).await;
    program.destroy(id).await;
    Ok(took)
}

async fn order(program: &Program) -> anyhow::Result<(i64, Value)> {
    let order = clouds::order("guest");
    let form: Vec<(&str, &str)> = order.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let data = program.data("POST", "/v1/server/create", &form).await;
    Ok((data["id"].as_i64().context("an order answers an id")?, data))
}

/// The forwarded port, once the program tells it.
async fn port(program: &Program, id: i64) -> anyhow::Result<u16> {
    let begun = Instant::now();
    loop {
        let server = program.call("GET", &format!("/v2/servers/{id}"), &[]).await;
        if let Some(port) = server["ssh"]["port"].as_u64() {
            return Ok(u16::try_from(port)?);
        }
        ensure!(begun.elapsed() < BOOT, "server {id} has no ssh port:\n{}", program.log());
        tokio::time::sleep(PAUSE).await;
    }
}

/// Knocks until ssh answers with its banner; how long that was after `begun`.
async fn banner(port: u16, begun: Instant) -> anyhow::Result<Duration> {
    let knock = async || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let mut first = [0; 4];
        stream.read_exact(&mut first).await?;
        std::io::Result::Ok(first == *b"SSH-")
    };
    loop {
        match tokio::time::timeout(KNOCK, knock()).await {
            Ok(Ok(true)) => return Ok(begun.elapsed()),
            Ok(Ok(false)) => anyhow::bail!("what answers on port {port} is not ssh"),
            Ok(Err(_)) => tokio::time::sleep(PAUSE).await,
            Err(_) => {}
        }
        ensure!(begun.elapsed() < BOOT, "no ssh banner on port {port}");
    }
}

/// What a person types to run the same guest.
struct Hand {
    dir: tempfile::TempDir,
    arguments: Vec<OsString>,
    /// The image as the disk names it, and the disk's size in bytes.
    backing: String,
    size: u64,
    port: u16,
}

impl Hand {
    /// Learns it from a machine of the program that runs.
    async fn learn(program: &Program, id: i64) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let machine = program.state().join("machines").join(id.to_string());
        // The machine's files name the image relative to their own place, so this one has the same surroundings.
        std::fs::create_dir_all(dir.path().join("machines/hand"))?;
        std::os::unix::fs::symlink(program.state().join("images"), dir.path().join("images"))?;
        std::fs::copy(machine.join("seed.iso"), dir.path().join("machines/hand/seed.iso"))?;
        let info = Command::new("qemu-img")
            .args(["info", "--force-share", "--output=json"])
            .arg(machine.join("disk.qcow2"))
            .output()
            .await?;
        let info: Value = serde_json::from_slice(&info.stdout).context("qemu-img info")?;
        let [pid] = program.machines()[..] else { anyhow::bail!("there is not one machine") };
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let run = program.run_dir().canonicalize()?.join(id.to_string());
        let line = std::fs::read(format!("/proc/{pid}/cmdline"))?;
        let hand = Self {
            arguments: adapted(&line, &run, &dir.path().join("run"), port)?,
            backing: info["backing-filename"].as_str().context("the disk has an image")?.to_owned(),
            size: info["virtual-size"].as_u64().context("the disk has a size")?,
            port,
            dir,
        };
        Ok(hand)
    }

    fn machine(&self) -> PathBuf {
        self.dir.path().join("machines/hand")
    }

    /// One boot by hand, from the first command to the banner.
    async fn boot(&self) -> anyhow::Result<Duration> {
        let run = self.dir.path().join("run");
        if run.exists() {
            std::fs::remove_dir_all(&run)?;
        }
        std::fs::create_dir_all(run.join("pid"))?;
        for stale in ["disk.qcow2", "serial.log"] {
            let stale = self.machine().join(stale);
            if stale.exists() {
                std::fs::remove_file(stale)?;
            }
        }
        let begun = Instant::now();
        let create = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &self.backing, "disk.qcow2"];
        let made = Command::new("qemu-img")
            .args(create)
            .arg(self.size.to_string())
            .current_dir(self.machine())
            .status()
            .await?;
        ensure!(made.success(), "qemu-img could not make the disk");
        let mut machine = self.start()?;
        let took = tokio::select! {
            took = banner(self.port, begun) => took?,
            ended = machine.wait() => anyhow::bail!("the machine by hand ended: {}", ended?),
        };
        machine.kill().await?;
        Ok(took)
    }

    fn start(&self) -> anyhow::Result<Child> {
        let (program, arguments) = self.arguments.split_first().context("the command line is empty")?;
        Command::new(program)
            .args(arguments)
            .current_dir(self.machine())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("QEMU does not start by hand")
    }
}

/// A process's command line with another directory of sockets and another forwarded port.
fn adapted(line: &[u8], run: &Path, new_run: &Path, port: u16) -> anyhow::Result<Vec<OsString>> {
    let (run, new_run) = (run.as_os_str().as_bytes(), new_run.as_os_str().as_bytes());
    let mut changed = (false, false);
    let mut arguments = Vec::new();
    for argument in line.split(|byte| *byte == 0) {
        let mut argument = argument.to_vec();
        if let Some(at) = find(&argument, run) {
            argument.splice(at..at + run.len(), new_run.iter().copied());
            changed.0 = true;
        }
        if let Some(at) = find(&argument, FORWARD) {
            let from = at + FORWARD.len();
            let digits = argument[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            argument.splice(from..from + digits, port.to_string().into_bytes());
            changed.1 = true;
        }
        arguments.push(OsString::from_vec(argument));
    }
    // The line ends with a zero byte, behind which nothing stands.
    arguments.pop();
    ensure!(changed == (true, true), "the command line names no sockets or no port: {arguments:?}");
    Ok(arguments)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_and_port_are_adapted() {
        let line = b"/usr/bin/qemu\0-netdev\0user,hostfwd=tcp:127.0.0.1:22001-10.0.0.4:22,x=1\0\
                     -vnc\0unix:/r/7/vnc.sock\0-name\0\0";
        let arguments = adapted(line, Path::new("/r/7"), Path::new("/h"), 5).unwrap();
        let expected = [
            "/usr/bin/qemu",
            "-netdev",
            "user,hostfwd=tcp:127.0.0.1:5-10.0.0.4:22,x=1",
            "-vnc",
            "unix:/h/vnc.sock",
            "-name",
            "",
        ];
        assert_eq!(arguments, expected.map(OsString::from));
        assert!(adapted(b"/usr/bin/qemu\0", Path::new("/r/7"), Path::new("/h"), 5).is_err());
    }
}

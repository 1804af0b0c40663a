//! Runs `qemu-img`: short orders, and copies that take their time.
//!
//! Promises: what opens a disk that a machine's process could have written runs as that machine's user, without
//! privileges, because such a disk's header may name any file of the host; a copy ends with whoever waits for it, and
//! with the control plane however that ends, so that no forgotten one goes on filling the node.

use super::layout::Owner;
use super::process;
use crate::DriverError;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{oneshot, watch};

/// How long an order may take that only reads or writes headers.
const ORDER_LIMIT: Duration = Duration::from_secs(60);
/// How long a copy may take: more than the largest disks need on a slow node.
const COPY_LIMIT: Duration = Duration::from_secs(6 * 3600);
/// What is kept of the tool's complaints, bytes.
const WORDS_LIMIT: u64 = 4096;

/// How `qemu-img` is run.
#[derive(Debug, Clone)]
pub struct Tool {
    /// The program, absolute.
    pub program: PathBuf,
    /// The working directory, entered while we still may.
    pub dir: PathBuf,
    /// Whom it runs as; `None` stays whoever we are.
    pub owner: Option<Owner>,
    /// Supplementary groups of that user.
    pub groups: Vec<u32>,
}

impl Tool {
    fn command(&self, arguments: &[&OsStr]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).current_dir(&self.dir).stdin(Stdio::null()).kill_on_drop(true);
        // As for machines: our environment may hold the installation's secrets.
        command.env_clear().env("LANG", "C.UTF-8");
        process::confine(command.as_std_mut(), self.owner, &self.groups);
        command
    }

    /// Runs a short order; gives what it prints.
    ///
    /// # Errors
    /// `Retry` with the tool's own words, and when it does not finish in time.
    pub async fn run(&self, arguments: &[&OsStr]) -> Result<String, DriverError> {
        let output = tokio::time::timeout(ORDER_LIMIT, self.command(arguments).output())
            .await
            .map_err(|_| DriverError::retry("qemu-img did not finish in time"))?
            .map_err(|e| DriverError::retry(format!("cannot run {}: {e}", self.program.display())))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(refusal(&output.stderr))
    }

    /// Runs an order that copies a disk and tells its percents (`-p`), which are passed on up to 99. When this is
    /// given up, so is the copy.
    ///
    /// # Errors
    /// `Retry` with the tool's own words, and when it does not finish in time.
    pub async fn copy(&self, arguments: &[&OsStr], progress: &watch::Sender<u8>) -> Result<(), DriverError> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        process::end_with_us(command.as_std_mut());
        let (tell, mut told) = watch::channel(0);
        let (wanted, given_up) = oneshot::channel::<()>();
        let (done, mut end) = oneshot::channel();
        // The kernel ends the tool with the thread that started it, so it gets one that lives exactly as long.
        let thread = std::thread::Builder::new().name("qemu-img".into());
        let spawned = thread.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let answer = runtime.map_err(DriverError::retry).and_then(|runtime| {
                runtime.block_on(async {
                    tokio::select! {
                        answer = converse(command, tell) => answer,
                        _ = given_up => Err(DriverError::retry("the copy was given up")),
                    }
                })
            });
            // Whoever asked may have stopped waiting.
            let _ = done.send(answer);
        });
        spawned.map_err(|e| DriverError::retry(format!("cannot start a thread: {e}")))?;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut end => break answer,
                Ok(()) = told.changed() => { progress.send_replace(*told.borrow_and_update()); }
            }
        };
        drop(wanted);
        answer.unwrap_or_else(|_| Err(DriverError::retry("qemu-img's thread has ended")))
    }
}

/// Runs a copy to its end.
async fn converse(mut command: Command, progress: watch::Sender<u8>) -> Result<(), DriverError> {
    let mut child = command.spawn().map_err(|e| DriverError::retry(format!("cannot run qemu-img: {e}")))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let complaints = async {
        let mut words = Vec::new();
        if let Some(mut stderr) = stderr {
            // A broken pipe is the tool's end, which the exit status tells better.
            let _ = (&mut stderr).take(WORDS_LIMIT).read_to_end(&mut words).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
        words
    };
    let percents = async {
        if let Some(stdout) = stdout {
            follow(stdout, &progress).await;
        }
    };
    let all = async { tokio::join!(child.wait(), complaints, percents) };
    let (status, words, ()) = tokio::time::timeout(COPY_LIMIT, all)
        .await
        .map_err(|_| DriverError::retry("qemu-img did not finish the copy in time"))?;
    if status.map_err(DriverError::retry)?.success() { Ok(()) } else { Err(refusal(&words)) }
}

/// Passes on what stands between `(` and `.` in `    (12.34/100%)\r`.
async fn follow(mut stdout: impl AsyncRead + Unpin, progress: &watch::Sender<u8>) {
    let mut buffer = [0; 256];
    let mut number: Option<u8> = None;
    while let Ok(read @ 1..) = stdout.read(&mut buffer).await {
        for byte in &buffer[..read] {
            match (byte, number) {
                (b'(', _) => number = Some(0),
                (b'0'..=b'9', Some(so_far)) => {
                    number = so_far.checked_mul(10).and_then(|tens| tens.checked_add(byte - b'0'));
                }
                (b'.', Some(percent)) => {
                    progress.send_replace(percent.min(99));
                    number = None;
                }
                _ => number = None,
            }
        }
    }
}

fn refusal(words: &[u8]) -> DriverError {
    let words: String = String::from_utf8_lossy(words).trim().chars().take(500).collect();
    DriverError::retry(format!("qemu-img: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn shell(dir: &std::path::Path) -> Tool {
        Tool { program: "/bin/sh".into(), dir: dir.into(), owner: None, groups: Vec::new() }
    }

    fn script(text: &str) -> [&OsStr; 2] {
        ["-c".as_ref(), text.as_ref()]
    }

    /// Whether the process that wrote its id into `file` has ended.
    async fn ends(file: &std::path::Path) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            let pid = std::fs::read_to_string(file).unwrap_or_default();
            match pid.trim().parse::<i32>() {
                Ok(pid) if process::stat(pid).is_none_or(|stat| stat.state == 'Z') => return true,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        false
    }

    #[tokio::test]
    async fn percents_are_passed_on_and_complaints_kept() {
        let dir = tempfile::tempdir().unwrap();
        let progress = watch::Sender::new(0);
        let mut seen = progress.subscribe();
        let told = tokio::spawn(async move {
            let mut told = Vec::new();
            while seen.changed().await.is_ok() {
                told.push(*seen.borrow_and_update());
            }
            told
        });
        let steps = "for n in 0.00 41.20 100.00; do printf '    (%s/100%%)\\r' $n; sleep 0.2; done";
        shell(dir.path()).copy(&script(steps), &progress).await.unwrap();
        drop(progress);
        let told = told.await.unwrap();
        assert!(told.contains(&41) && told.last() == Some(&99), "{told:?}");
        let progress = watch::Sender::new(0);
        match shell(dir.path()).copy(&script("echo no room >&2; exit 1"), &progress).await {
            Err(DriverError::Retry(why)) => assert_eq!(why, "qemu-img: no room"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_copy_that_is_given_up_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let progress = watch::Sender::new(0);
        let mut seen = progress.subscribe();
        let tool = shell(dir.path());
        let order = script("echo $$ > pid; printf '(7.00'; exec sleep 60");
        let copy = tool.copy(&order, &progress);
        tokio::select! {
            end = copy => panic!("{end:?}"),
            seen = seen.wait_for(|percent| *percent == 7) => { seen.unwrap(); }
        }
        assert!(ends(&dir.path().join("pid")).await, "it goes on");
    }

    #[tokio::test]
    async fn an_order_has_no_environment_and_its_words_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let said = shell(dir.path()).run(&script("echo $HOME; pwd")).await.unwrap();
        assert_eq!(said, format!("\n{}\n", dir.path().canonicalize().unwrap().display()));
        assert!(shell(dir.path()).run(&script("exit 3")).await.is_err());
    }
}

//! Processes of machines: started so that they outlive us, known by pid and start time, watched by pidfd.
//!
//! A machine's process has its own session, its own user, no privileges and no file of ours; nothing ties its
//! life to ours. Whether it was started by this control plane or by an earlier one makes no difference here,
//! except that only a parent learns the exit status.

use super::layout::Owner;
use nix::libc;
use std::ffi::{CString, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How a process ended, as its parent learns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was not our child, so nobody told us.
    Unknown,
}

/// A running (or just ended) process that cannot be mistaken for another one.
#[derive(Debug)]
pub struct Process {
    /// Process id.
    pub pid: i32,
    /// When it started, clock ticks since the host's boot.
    pub start_ticks: u64,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Takes hold of a process; `None` when there is none with this id.
    ///
    /// # Errors
    /// When the kernel has no pidfd or there are no descriptors left.
    pub fn open(pid: i32) -> io::Result<Option<Self>> {
        // SAFETY: the call takes two integers and returns a new descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            let e = io::Error::last_os_error();
            return if e.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(e) };
        }
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: the kernel just gave us this descriptor and nobody else knows it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
        let Some(start_ticks) = stat(pid).map(|stat| stat.start_ticks) else { return Ok(None) };
        // SAFETY: an OwnedFd gives the same open descriptor as long as it lives.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
        Ok(Some(Self { pid, start_ticks, pidfd }))
    }

    /// Returns once the process has ended.
    pub async fn ended(&self) {
        // The descriptor stays readable for ever once the process has ended, so readiness is never cleared.
        let _ = self.pidfd.readable().await;
    }

    /// Sends a signal; a process that has ended already is fine.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the descriptor is ours, the signal's details are allowed to be null.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.get_ref().as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            );
        }
    }

    /// How it ended. To be asked once it has; takes the process off the kernel's table when it was our child.
    pub fn reap(&self) -> Exit {
        let fd = self.pidfd.get_ref().as_raw_fd();
        // SAFETY: an all-zero siginfo_t is a valid one, and waitid writes to nothing else.
        let (answer, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (
                libc::waitid(libc::P_PIDFD, fd as libc::id_t, &raw mut info, libc::WEXITED | libc::WNOHANG),
                info,
            )
        };
        if answer != 0 || info.si_signo == 0 {
            return Exit::Unknown;
        }
        // SAFETY: waitid succeeded and filled in the fields of a SIGCHLD.
        let status = unsafe { info.si_status() };
        if info.si_code == libc::CLD_EXITED { Exit::Code(status) } else { Exit::Signal(status) }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        match stat(self.pid) {
            Some(stat) => stat.start_ticks != self.start_ticks || stat.state == 'Z',
            None => true,
        }
    }
}

/// What `/proc/PID/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `R`, `S`, `Z`, …
    pub state: char,
    /// When it started, clock ticks since the host's boot.
    pub start_ticks: u64,
    /// Processor time of all its threads, microseconds.
    pub cpu_us: u64,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
}

/// Looks at a process; `None` when there is none with this id.
pub fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in the second field may hold anything, even blanks and brackets: read on from the last one.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        start_ticks: number(22)?,
        // The kernel shows user space 100 ticks a second whatever it ticks by itself.
        cpu_us: (number(14)? + number(15)?) * 10_000,
        memory_bytes: number(24)? * page_size(),
    })
}

fn page_size() -> u64 {
    // SAFETY: sysconf only reads a constant.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The host's boot id, so that a process id is never taken for one of another boot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".into(), |id| id.trim().replace('-', ""))
}

/// Finds the process that a pid file names, if it is the one that was started with this very pid file: a process
/// id that was given out anew, or forged, does not have the path among its arguments.
///
/// # Errors
/// When it cannot be looked at.
pub fn find(pidfile: &Path) -> io::Result<Option<Process>> {
    let text = match read_pidfile(pidfile) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let Ok(pid) = text.trim().parse::<i32>() else { return Ok(None) };
    let Some(process) = Process::open(pid)? else { return Ok(None) };
    let arguments = match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(arguments) => arguments,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let ours = arguments.split(|b| *b == 0).any(|argument| argument == pidfile.as_os_str().as_bytes());
    Ok((ours && !process.has_ended()).then_some(process))
}

/// The text of a pid file. It lies where the machine's own user may write, so that whatever stands there is read
/// without following links, waiting for a pipe, or taking more than a number needs; what is no file has no text.
fn read_pidfile(path: &Path) -> io::Result<String> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => return Ok(String::new()),
        other => other?,
    };
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(32).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is to be started.
pub struct Launch<'a> {
    /// Absolute path of the program.
    pub program: &'a Path,
    /// Its arguments; nothing secret, since everybody on the host can read them.
    pub arguments: &'a [OsString],
    /// The working directory, entered while we still may.
    pub directory: &'a Path,
    /// Where its stdout and stderr go.
    pub output: &'a File,
    /// Whom it runs as; `None` stays whoever we are.
    pub owner: Option<Owner>,
    /// Supplementary groups.
    pub groups: Vec<libc::gid_t>,
    /// The `cgroup.procs` files that it joins.
    pub cgroups: Vec<PathBuf>,
    /// A descriptor that it keeps, under the same number.
    pub keep: Option<RawFd>,
}

/// Starts a program that lives on without us.
///
/// # Errors
/// When a step before the program's first instruction failed: the directory, the user, the program itself.
pub fn launch(launch: &Launch<'_>) -> io::Result<Process> {
    let directory = CString::new(launch.directory.as_os_str().as_bytes())?;
    let cgroups: Vec<CString> = launch
        .cgroups
        .iter()
        .map(|path| CString::new(path.as_os_str().as_bytes()))
        .collect::<Result<_, _>>()?;
    let (owner, groups, keep) = (launch.owner, launch.groups.clone(), launch.keep);
    let mut command = Command::new(launch.program);
    command
        .args(launch.arguments)
        // Our environment may hold the installation's secrets, and a process's environment can be read by its user.
        .env_clear()
        .env("LANG", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(launch.output.try_clone()?)
        .stderr(launch.output.try_clone()?);
    // SAFETY: between fork and exec only system calls are made; everything they need was allocated before.
    unsafe {
        command.pre_exec(move || {
            detach(&directory, keep)?;
            for file in &cgroups {
                join_cgroup(file)?;
            }
            drop_privileges(owner, &groups)
        });
    }
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // The child is ours until it is reaped, so its id cannot have gone to anybody else.
    Process::open(pid)?.ok_or_else(|| io::Error::other("the process ended at once"))
}

/// Own session, own directory, no descriptors but the standard ones and `keep`, no core dumps of guests' memory.
fn detach(directory: &CString, keep: Option<RawFd>) -> io::Result<()> {
    // SAFETY: plain system calls on integers and on a string that outlives them.
    unsafe {
        check(libc::setsid())?;
        check(libc::chdir(directory.as_ptr()))?;
        libc::umask(0o077);
        // Older kernels lack the call; our descriptors are all close-on-exec anyway.
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        if let Some(fd) = keep {
            check(libc::fcntl(fd, libc::F_SETFD, 0))?;
        }
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        check(libc::setrlimit(libc::RLIMIT_CORE, &raw const none))?;
    }
    Ok(())
}

fn join_cgroup(file: &CString) -> io::Result<()> {
    // SAFETY: the string outlives the calls, the buffer is two bytes long, the descriptor is closed here.
    unsafe {
        let fd = check(libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
        let written = libc::write(fd, c"0".as_ptr().cast(), 1);
        libc::close(fd);
        if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Lets a command run as a machine's user, without privileges; `None` stays whoever we are.
pub fn confine(command: &mut Command, owner: Option<Owner>, groups: &[libc::gid_t]) {
    let groups = groups.to_vec();
    // SAFETY: between fork and exec only system calls are made; everything they need was allocated before.
    unsafe {
        command.pre_exec(move || drop_privileges(owner, &groups));
    }
}

/// Lets a command be killed by the kernel when the thread that starts it ends, be it with all of us. To be said after
/// [`confine`], whose change of user would cancel it.
pub fn end_with_us(command: &mut Command) {
    // SAFETY: one system call on integers.
    unsafe {
        command.pre_exec(|| {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
            Ok(())
        });
    }
}

/// After this the process can gain no privilege by any means, and as root's child has none.
fn drop_privileges(owner: Option<Owner>, groups: &[libc::gid_t]) -> io::Result<()> {
    // SAFETY: plain system calls on integers and on a slice that outlives them.
    unsafe {
        if let Some(Owner(id)) = owner {
            for capability in 0..64 {
                // The first capability that the kernel does not know ends the list.
                if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 {
                    break;
                }
            }
            check(libc::setgroups(groups.len(), groups.as_ptr()))?;
            check(libc::setgid(id))?;
            check(libc::setuid(id))?;
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
    }
    Ok(())
}

fn check(answer: libc::c_int) -> io::Result<libc::c_int> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn start(dir: &Path, script: &str) -> Process {
        let output = File::create(dir.join("out")).unwrap();
        launch(&Launch {
            program: Path::new("/bin/sh"),
            arguments: &["-c".into(), script.into(), dir.join("pid").into_os_string()],
            directory: dir,
            output: &output,
            owner: None,
            groups: Vec::new(),
            cgroups: Vec::new(),
            keep: None,
        })
        .unwrap()
    }

    async fn end(process: &Process) -> Exit {
        tokio::time::timeout(Duration::from_secs(10), process.ended()).await.unwrap();
        process.reap()
    }

    #[tokio::test]
    async fn the_exit_is_seen_and_told_apart_from_a_signal() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(end(&start(dir.path(), "exit 3")).await, Exit::Code(3));
        let sleeper = start(dir.path(), "exec sleep 60");
        assert!(!sleeper.has_ended());
        sleeper.signal(libc::SIGKILL);
        assert_eq!(end(&sleeper).await, Exit::Signal(libc::SIGKILL));
        assert!(sleeper.has_ended());
        assert_eq!(sleeper.reap(), Exit::Unknown, "only once");
    }

    #[tokio::test]
    async fn a_process_has_its_own_session_directory_and_no_environment() {
        let dir = tempfile::tempdir().unwrap();
        let process = start(
            dir.path(),
            "pwd; env; cut -d' ' -f5,6 /proc/$$/stat; echo $$; grep NoNewPrivs /proc/self/status; ls /proc/$$/fd",
        );
        assert_eq!(end(&process).await, Exit::Code(0));
        let text = fs::read_to_string(dir.path().join("out")).unwrap();
        let canonical = dir.path().canonicalize().unwrap();
        assert!(text.starts_with(&format!("{}\n", canonical.display())), "{text}");
        assert!(!text.contains("HOME="), "{text}");
        assert!(text.contains(&format!("{0} {0}\n{0}\n", process.pid)), "own group and session: {text}");
        assert!(text.contains("NoNewPrivs:\t1"), "{text}");
        assert!(text.ends_with("0\n1\n2\n"), "{text}");
    }

    #[tokio::test]
    async fn a_pid_file_names_only_the_process_that_was_started_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let pidfile = dir.path().join("pid");
        assert!(find(&pidfile).unwrap().is_none());
        let process = start(dir.path(), "sleep 60; :");
        fs::write(&pidfile, process.pid.to_string()).unwrap();
        let found = find(&pidfile).unwrap().unwrap();
        assert_eq!((found.pid, found.start_ticks), (process.pid, process.start_ticks));
        let other = dir.path().join("other");
        fs::write(&other, process.pid.to_string()).unwrap();
        assert!(find(&other).unwrap().is_none(), "another machine's process");
        process.signal(libc::SIGKILL);
        process.ended().await;
        assert!(find(&pidfile).unwrap().is_none(), "a dead process that nobody has reaped");
        process.reap();
        assert!(find(&pidfile).unwrap().is_none());
    }

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let text =
            "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 7 5 0 0 20 0 1 0 9000 1000 3 18446744073709551615";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.start_ticks, stat.cpu_us), ('S', 9000, 120_000));
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let output = File::create(dir.path().join("out")).unwrap();
        let missing = launch(&Launch {
            program: Path::new("/nonexistent"),
            arguments: &[],
            directory: dir.path(),
            output: &output,
            owner: None,
            groups: Vec::new(),
            cgroups: Vec::new(),
            keep: None,
        });
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}

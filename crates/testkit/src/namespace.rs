//! A network namespace for one test: what it does to taps, routes and rules is nobody else's.

use nix::sched::{CloneFlags, unshare};
use std::process::Command;

/// Whether this process may make one.
pub fn possible() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs `test` on a thread in a fresh network namespace with loopback up; all that it starts inherits it.
pub fn within<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (needs root)");
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("ip runs").success());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What a command of iproute2 or nft prints in the present namespace.
pub fn prints(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

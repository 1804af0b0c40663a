//! The scripts are run for real, by a shell, on a directory that stands for the guest's root.

use super::super::tests::seed;
use super::*;
use crate::spec::Secret;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Hostile on purpose: whatever the hash holds, the shell must take it for one word.
const HASH: &str = "$6$ro'un\"d$`touch pwned`$(touch pwned)\\n";

struct Guest(tempfile::TempDir);

impl Guest {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["etc", "var/lib/cloud", "var/lib/dbus", "dev", "bin"] {
            fs::create_dir_all(dir.path().join(sub)).unwrap();
        }
        let guest = Self(dir);
        guest.write("etc/shadow", "daemon:*:1:\nroot:!:19000:0:99999:7:::\nalice:$6$x:1:\n");
        guest.write("etc/machine-id", "00000000000000000000000000000000\n");
        guest.write("dev/ttyS0", "");
        // As the real one: `user:hash` lines on stdin.
        guest.write(
            "bin/chpasswd",
            "#!/bin/sh\n[ \"$1\" = -e ] || exit 9\nread -r line\necho \"$*\" >> chpasswd.calls\n\
             sed -i '/^root:/d' etc/shadow\nprintf '%s:19001:0:99999:7:::\\n' \"$line\" >> etc/shadow\n",
        );
        // The host's own must never be asked.
        guest.write("bin/systemctl", "#!/bin/sh\necho \"$*\" >> systemctl.calls\n");
        for name in ["chpasswd", "systemctl"] {
            let program = guest.path("bin").join(name);
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        guest
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Runs what the seed says, as one boot would.
    fn boot(&self, seed: &Seed) {
        let config = cloud_config(seed).unwrap();
        let config: serde_json::Value =
            serde_json::from_str(config.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        let mut script = "set -e\n".to_owned();
        for command in config["bootcmd"].as_array().unwrap() {
            script.push_str(command.as_str().unwrap());
            script.push('\n');
        }
        for place in ["/etc/", "/var/lib/", "/dev/ttyS0"] {
            script = script.replace(place, &format!("{}{place}", self.0.path().display()));
        }
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let run =
            Command::new("sh").arg("-c").arg(&script).env("PATH", path).current_dir(self.0.path()).output();
        let output = run.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(!self.path("pwned").exists());
    }
}

fn changed(nonce: &str, hash: &str) -> Seed {
    let change = PasswordChange { hash: Secret(hash.into()), nonce: nonce.into() };
    Seed { password_change: Some(change), ..seed(None) }
}

#[test]
fn a_password_is_set_once_and_confirmed_at_every_boot_at_which_it_holds() {
    let guest = Guest::new();
    let said = |times: usize| {
        let line = "bulut: root password n1 is set";
        assert_eq!(guest.read("dev/ttyS0").lines().filter(|said| *said == line).count(), times);
    };
    guest.boot(&changed("n1", HASH));
    assert!(guest.read("etc/shadow").contains(&format!("root:{HASH}:")), "{}", guest.read("etc/shadow"));
    assert!(guest.read("etc/shadow").contains("alice:$6$x:1:\n"));
    said(1);
    assert_eq!(
        guest.read("etc/ssh/sshd_config.d/10-root-password.conf"),
        "PermitRootLogin yes\nPasswordAuthentication yes\n"
    );
    guest.write("dev/ttyS0", "");
    guest.boot(&changed("n1", HASH));
    said(1);
    assert_eq!(guest.read("chpasswd.calls"), "-e\n", "once, and the hash was no argument");

    // Changed by hand in the guest: it stays so, and nothing is confirmed.
    guest.write("etc/shadow", "root:$6$own:19002:0:99999:7:::\n");
    guest.write("dev/ttyS0", "");
    guest.boot(&changed("n1", HASH));
    assert!(guest.read("etc/shadow").contains("root:$6$own:"));
    said(0);

    guest.boot(&changed("n2", "$6$next"));
    assert!(guest.read("etc/shadow").contains("root:$6$next:"));
    assert!(guest.read("dev/ttyS0").lines().any(|line| line == "bulut: root password n2 is set"));
}

#[test]
fn a_password_that_could_not_be_set_is_not_confirmed_and_tried_again() {
    let guest = Guest::new();
    let works = guest.read("bin/chpasswd");
    guest.write("bin/chpasswd", "#!/bin/sh\nexit 0\n");
    guest.boot(&changed("n1", "$6$a"));
    assert_eq!(guest.read("dev/ttyS0"), "");
    guest.write("bin/chpasswd", &works);
    guest.boot(&changed("n1", "$6$a"));
    assert!(guest.read("dev/ttyS0").contains("root password n1 is set"));
}

#[test]
fn a_copy_gets_a_machine_id_of_its_own_once_for_each_instance() {
    let guest = Guest::new();
    let copy = |instance: &str| Seed { instance_id: instance.into(), fresh_identity: true, ..seed(None) };
    let is_id = |text: &str| {
        text.len() == 33 && text.trim_end().bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    guest.write("var/lib/cloud/bulut-hostname", "a name of the other one\n");
    guest.boot(&copy("i-it's 2"));
    assert!(!guest.path("var/lib/cloud/bulut-hostname").exists());
    let second = guest.read("etc/machine-id");
    assert!(is_id(&second) && !second.starts_with("0000000000"), "{second}");
    assert!(!guest.path("var/lib/dbus/machine-id").exists(), "none is made where there was none");
    guest.boot(&copy("i-it's 2"));
    assert_eq!(guest.read("etc/machine-id"), second);
    assert_eq!(guest.read("systemctl.calls").lines().count(), 1, "the journal begins anew, once");

    guest.write("var/lib/dbus/machine-id", "of its own\n");
    guest.boot(&copy("i-3"));
    let third = guest.read("etc/machine-id");
    assert!(is_id(&third) && third != second);
    assert_eq!(guest.read("var/lib/dbus/machine-id"), third);

    fs::remove_file(guest.path("var/lib/dbus/machine-id")).unwrap();
    std::os::unix::fs::symlink(guest.path("etc/machine-id"), guest.path("var/lib/dbus/machine-id")).unwrap();
    guest.boot(&copy("i-4"));
    assert!(is_link(&guest.path("var/lib/dbus/machine-id")), "a link stays one");
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).unwrap().file_type().is_symlink()
}

#[test]
fn a_seed_without_either_asks_for_nothing() {
    assert_eq!(cloud_config(&seed(None)), None);
}

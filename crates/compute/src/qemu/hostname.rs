//! Another name for a guest that has one already: through its agent now, or by itself at its next boot.
//!
//! Both run one script, which leaves a mark on the disk. So a name is given once, and whoever changes it in the guest
//! later on is left in peace.

use super::agent::Agent;
use crate::DriverError;
use serde_json::{Value, json};

/// Gives the name in `$name`: to the kernel, to the next boots, to whoever asks for the whole name of a short one, and
/// to cloud-init, which otherwise takes a name that it did not give for the customer's own wish.
const GIVE: &str = r#"{ hostname "$name" 2>/dev/null || echo "$name" > /proc/sys/kernel/hostname; } &&
echo "$name" > /etc/hostname &&
{ [ ! -e /var/lib/cloud/data/previous-hostname ] || echo "$name" > /var/lib/cloud/data/previous-hostname; } &&
others=$(grep -v '^127\.0\.1\.1[[:space:]]' /etc/hosts || true) &&
printf '%s\n127.0.1.1 %s %s\n' "$others" "$name" "${name%%.*}" > /etc/hosts &&
mkdir -p /var/lib/cloud && echo "$name" > /var/lib/cloud/bulut-hostname"#;

/// What the guest does at its boots: it takes the name, unless it has had it before.
pub fn at_boot(hostname: &str) -> String {
    format!(
        "(\numask 022\nname={}\nseen=\n\
         [ ! -e /var/lib/cloud/bulut-hostname ] || read -r seen < /var/lib/cloud/bulut-hostname\n\
         if [ \"$seen\" != \"$name\" ]; then\n{GIVE}\nfi\n)",
        quoted(hostname)
    )
}

/// What the agent runs.
fn now(hostname: &str) -> String {
    format!("umask 022\nname={}\n{GIVE} && echo given", quoted(hostname))
}

/// A word of the shell that means this text, whatever is in it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

impl Agent {
    /// Gives the guest another name, and reads it back. False when the agent may run no programs.
    ///
    /// # Errors
    /// `Retry` when the guest does not have the name afterwards.
    pub async fn set_hostname(&mut self, hostname: &str) -> Result<bool, DriverError> {
        if !self.can_run().await? {
            return Ok(false);
        }
        let said = self.run("/bin/sh", &["-c", &now(hostname)]).await;
        if said.as_deref().map(str::trim) != Some("given") {
            return Err(DriverError::retry("the guest could not take the name"));
        }
        match self.hostname().await {
            Some(has) if has == hostname => Ok(true),
            Some(has) => Err(DriverError::retry(format!("the guest says that its name is {has}"))),
            None => Err(DriverError::retry("the guest does not say its name")),
        }
    }

    /// The name that the guest's kernel has. Agents that keep the first answer for ever are asked for the file.
    async fn hostname(&mut self) -> Option<String> {
        if let Some(text) = self.file("/proc/sys/kernel/hostname").await {
            return Some(String::from_utf8_lossy(&text).trim().to_owned());
        }
        let told = self.ask("guest-get-host-name", &Value::Null).await?;
        told["host-name"].as_str().map(str::to_owned)
    }

    async fn can_run(&mut self) -> Result<bool, DriverError> {
        let info = self.ask("guest-info", &json!({})).await;
        let info = info.ok_or_else(|| DriverError::retry("the guest's agent does not say what it can do"))?;
        Ok(super::agent::allows(&info, "guest-exec") && super::agent::allows(&info, "guest-exec-status"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;
    use std::process::Command;

    /// A directory that stands for a guest's root, with a `hostname` of its own.
    struct Guest(tempfile::TempDir);

    impl Guest {
        fn new() -> Self {
            let guest = Self(tempfile::tempdir().unwrap());
            for sub in ["etc", "var/lib/cloud/data", "bin"] {
                fs::create_dir_all(guest.path(sub)).unwrap();
            }
            guest.write("etc/hostname", "old.example\n");
            guest.write("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 old.example old\n::1 localhost\n");
            guest.write("bin/hostname", "#!/bin/sh\necho \"$1\" >> kernel\n");
            fs::set_permissions(guest.path("bin/hostname"), fs::Permissions::from_mode(0o755)).unwrap();
            guest
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap_or_default()
        }

        fn run(&self, script: &str) -> String {
            let root = self.0.path().display();
            let script = script.replace("/etc/", &format!("{root}/etc/"));
            let script = script.replace("/var/lib/", &format!("{root}/var/lib/"));
            let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
            let mut shell = Command::new("sh");
            let output =
                shell.arg("-c").arg(&script).env("PATH", path).current_dir(self.0.path()).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            String::from_utf8(output.stdout).unwrap()
        }
    }

    #[test]
    fn a_name_given_now_holds_for_the_kernel_the_files_and_cloud_init() {
        let guest = Guest::new();
        guest.write("var/lib/cloud/data/previous-hostname", "old.example\n");
        assert_eq!(guest.run(&now("web1.example.com")), "given\n");
        assert_eq!(guest.read("kernel"), "web1.example.com\n");
        assert_eq!(guest.read("etc/hostname"), "web1.example.com\n");
        assert_eq!(
            guest.read("etc/hosts"),
            "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 web1.example.com web1\n"
        );
        assert_eq!(guest.read("var/lib/cloud/data/previous-hostname"), "web1.example.com\n");
        // At the boots after it nothing is left to do.
        guest.run(&at_boot("web1.example.com"));
        assert_eq!(guest.read("kernel"), "web1.example.com\n");
    }

    #[test]
    fn a_name_is_taken_once_at_boot_and_what_the_customer_names_stays() {
        let guest = Guest::new();
        for _ in 0..2 {
            guest.run(&at_boot("web1.example.com"));
            assert_eq!(guest.read("kernel"), "web1.example.com\n");
        }
        assert!(!guest.path("var/lib/cloud/data/previous-hostname").exists(), "cloud-init's file is its own");
        guest.write("etc/hostname", "mine.example\n");
        guest.run(&at_boot("web1.example.com"));
        assert_eq!(guest.read("etc/hostname"), "mine.example\n");
        guest.run(&at_boot("web2.example.com"));
        assert_eq!(guest.read("etc/hostname"), "web2.example.com\n");
    }

    #[test]
    fn whatever_is_in_a_name_it_is_one_word() {
        let guest = Guest::new();
        let hostile = "a'; touch pwned; $(touch pwned) `touch pwned` \"";
        guest.run(&at_boot(hostile));
        assert!(!guest.path("pwned").exists());
        assert_eq!(guest.read("etc/hostname"), format!("{hostile}\n"));
    }
}

//! What a guest does at its boots beyond the first: cloud-init's `bootcmd`, which runs at every boot, also for an
//! instance that it knows. Each of ours leaves a mark on the disk, so that it does its work once.
//!
//! Must not know: how the seed is made.

use crate::qemu::hostname::{self, quoted};
use crate::spec::{PasswordChange, Seed};
use serde_json::json;

/// A cloud-config with what this guest has to do at boot, if there is something.
pub fn cloud_config(seed: &Seed) -> Option<String> {
    let mut commands = Vec::new();
    if seed.fresh_identity {
        commands.push(fresh_identity(&seed.instance_id));
    }
    if seed.renamed {
        commands.push(hostname::at_boot(&seed.hostname));
    }
    if let Some(change) = &seed.password_change {
        commands.push(password_change(change));
    }
    (!commands.is_empty()).then(|| format!("#cloud-config\n{}\n", json!({ "bootcmd": commands })))
}

/// Once for each instance: a machine-id that no other machine has; and no name was given to this one yet, whatever its
/// disk was called elsewhere. cloud-init makes new host keys by itself.
fn fresh_identity(instance_id: &str) -> String {
    let instance = quoted(instance_id);
    format!(
        r#"(
umask 022
instance={instance}
mark=/var/lib/cloud/bulut-identity
seen=
[ ! -e "$mark" ] || read -r seen < "$mark"
if [ "$seen" != "$instance" ]; then
    tr -d - < /proc/sys/kernel/random/uuid > /etc/machine-id &&
    {{ [ ! -f /var/lib/dbus/machine-id ] || [ -L /var/lib/dbus/machine-id ] || cp /etc/machine-id /var/lib/dbus/machine-id; }} &&
    rm -f /var/lib/cloud/bulut-hostname &&
    echo "$instance" > "$mark"
    # It writes where the old id says until it begins anew, and nobody finds what it wrote.
    ! command -v systemctl > /dev/null || systemctl --no-block try-restart systemd-journald.service
fi
)"#
    )
}

/// Once for each change: root's password, and leave to log in with it. At every boot at which the password is this
/// one, the serial line says so. The hash goes from the shell's own `printf` to `chpasswd`, so that it is no
/// program's argument, which other users of the guest could read.
fn password_change(change: &PasswordChange) -> String {
    let (hash, nonce) = (quoted(&change.hash.0), quoted(&change.nonce));
    let confirmation = quoted(&change.confirmation());
    format!(
        r#"(
umask 022
hash={hash}
nonce={nonce}
mark=/var/lib/cloud/bulut-password
holds() {{
    while IFS=: read -r user value _; do
        [ "$user" != root ] || [ "$value" != "$hash" ] || return 0
    done < /etc/shadow
    return 1
}}
seen=
[ ! -e "$mark" ] || read -r seen < "$mark"
if [ "$seen" != "$nonce" ]; then
    printf 'root:%s\n' "$hash" | chpasswd -e
    mkdir -p /etc/ssh/sshd_config.d
    printf 'PermitRootLogin yes\nPasswordAuthentication yes\n' > /etc/ssh/sshd_config.d/10-root-password.conf
    ! holds || echo "$nonce" > "$mark"
fi
! holds || printf '\n%s\n' {confirmation} > /dev/ttyS0
)"#
    )
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
mod tests;

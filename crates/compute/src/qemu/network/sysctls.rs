//! The kernel's switches under `/proc/sys/net`, which follow the network namespace of the calling thread.
//!
//! Promises: what is so is not written again.

use crate::DriverError;
use std::path::PathBuf;

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}

/// The value of `key`, such as `ipv4/ip_forward`; `None` if the kernel has no such switch.
pub(super) fn get(key: &str) -> Option<String> {
    std::fs::read_to_string(path(key)).ok().map(|text| text.trim().to_owned())
}

/// Sets `key` unless it is so; whether it was otherwise.
///
/// # Errors
/// `Fatal` when the kernel has no such switch or refuses the value.
pub(super) fn set(key: &str, value: &str) -> Result<bool, DriverError> {
    if get(key).as_deref() == Some(value) {
        return Ok(false);
    }
    std::fs::write(path(key), value)
        .map(|()| true)
        .map_err(|error| DriverError::Fatal(format!("cannot set net/{key} to {value}: {error}")))
}

/// Makes the host forward packets of both families; whether it did not.
pub(super) fn forward() -> Result<bool, DriverError> {
    let changed = set("ipv4/ip_forward", "1")?;
    if get("ipv6/conf/all/forwarding").is_none_or(|value| value == "1") {
        return Ok(changed); // no IPv6 here, or done
    }
    keep_learning_routes()?;
    set("ipv6/conf/all/forwarding", "1")
}

/// A forwarding host ignores router advertisements unless told otherwise: without this, a host whose own default
/// route comes from one would lose it.
fn keep_learning_routes() -> Result<(), DriverError> {
    let Ok(entries) = std::fs::read_dir(path("ipv6/conf")) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let key = format!("ipv6/conf/{}/accept_ra", name.to_string_lossy());
        if name != "all" && name != "default" && name != "lo" && get(&key).as_deref() == Some("1") {
            set(&key, "2")?;
        }
    }
    Ok(())
}

/// The switches of one tap; whether one was otherwise. `ipv6`: whether the machine has an IPv6 address.
pub(super) fn tap(tap: &str, ipv6: bool) -> Result<bool, DriverError> {
    let mut changed = false;
    for (switch, value) in
        [("proxy_arp", "1"), ("rp_filter", "1"), ("forwarding", "1"), ("accept_redirects", "0")]
    {
        changed |= set(&format!("ipv4/conf/{tap}/{switch}"), value)?;
    }
    // The host answers for the neighbours at once: a delay is for sharing a wire with them.
    changed |= set(&format!("ipv4/neigh/{tap}/proxy_delay"), "0")?;
    if get(&format!("ipv6/conf/{tap}/forwarding")).is_none() {
        return if ipv6 {
            Err(DriverError::Fatal(
                "the machine has an IPv6 address, but the host's kernel has no IPv6".to_owned(),
            ))
        } else {
            Ok(changed)
        };
    }
    changed |= set(&format!("ipv6/conf/{tap}/disable_ipv6"), if ipv6 { "0" } else { "1" })?;
    for (switch, value) in [
        ("accept_ra", "0"),
        ("accept_redirects", "0"),
        ("accept_dad", "0"),
        ("forwarding", "1"),
        // The gateway's is the only link-local address of the host here.
        ("addr_gen_mode", "1"),
    ] {
        changed |= set(&format!("ipv6/conf/{tap}/{switch}"), value)?;
    }
    Ok(changed)
}

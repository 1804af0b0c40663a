//! Taps: the kernel device whose far end is the guest's network card.
//!
//! Promises: a tap is persistent and made before any hypervisor starts (one that finds none would make its own,
//! which vanishes with it); opening never makes one. Must not know: addresses or rules.

use crate::DriverError;
use bulut_model::ServerId;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// What every tap's name begins with; the host's rules match on it.
pub(super) const PREFIX: &str = "bv";

/// Where taps come from.
pub(super) const DEVICE: &str = "/dev/net/tun";

/// Frames are whole Ethernet frames preceded by the virtio header, so that checksums and segmentation are offloaded.
const FLAGS: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// An open tap, to be passed to the hypervisor as a file descriptor.
#[derive(Debug)]
pub struct TapHandle {
    /// Reads give what the guest receives, writes are what it sends. Closed on exec unless cleared.
    pub fd: OwnedFd,
    /// Whether each frame is preceded by a virtio header (10 bytes unless set otherwise).
    pub vnet_hdr: bool,
}

/// The name of a server's tap, at most 15 bytes as the kernel demands.
///
/// # Errors
/// `Fatal` if the id has no more than that.
pub(super) fn name(id: ServerId) -> Result<String, DriverError> {
    let name = format!("{PREFIX}{id}");
    if id.0 < 0 || name.len() >= libc::IFNAMSIZ {
        return Err(DriverError::Fatal(format!(
            "server {id} cannot have a tap: the name {name} is not a valid one"
        )));
    }
    Ok(name)
}

/// The server of a tap's name, if it is one of ours.
pub(super) fn server(name: &str) -> Option<ServerId> {
    let digits = name.strip_prefix(PREFIX)?;
    let canonical =
        digits.bytes().all(|it| it.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok().map(ServerId))?
}

/// Opens the tap, making it if it is not there.
fn attach(name: &str) -> io::Result<OwnedFd> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(DEVICE)?;
    // SAFETY: an ifreq of zeros is a valid one: plain integers, and unions of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let capacity = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(capacity).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(FLAGS).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open and `request` is the ifreq that this request reads and writes.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(file.into()) }
}

/// Makes the tap `name` outlive whoever opens it. Must not be called for one that is in use.
pub(super) fn create(name: &str) -> io::Result<()> {
    let fd = attach(name)?;
    // SAFETY: the descriptor is an attached tap; the argument is an integer.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETPERSIST, 1) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The kernel's number of a tap.
///
/// # Errors
/// `Gone` if there is none of that name.
pub(super) fn index(name: &str) -> Result<u32, DriverError> {
    nix::net::if_::if_nametoindex(name).map_err(|_| DriverError::Gone(format!("there is no tap {name}")))
}

/// Opens the tap of a server, which must be there.
pub(super) fn open(id: ServerId) -> Result<TapHandle, DriverError> {
    let name = name(id)?;
    index(&name)?;
    let fd = attach(&name).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => DriverError::Retry(format!("tap {name} is in use by another process")),
        _ => DriverError::Fatal(format!("cannot open tap {name}: {error}")),
    })?;
    Ok(TapHandle { fd, vnet_hdr: true })
}

/// Whether taps can be made at all: makes one that vanishes at once.
pub(super) fn probe() -> io::Result<()> {
    attach("bvprobe%d").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_its_server_back_and_foreign_names_give_none() {
        assert_eq!(server(&name(ServerId(42)).unwrap()), Some(ServerId(42)));
        for foreign in ["bv", "bvx", "bv-1", "bv+1", "bv007", "bvprobe0", "eth0", "bv99999999999999999999"] {
            assert_eq!(server(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn an_id_too_long_for_the_kernel_is_refused() {
        assert!(matches!(name(ServerId(i64::MAX)), Err(DriverError::Fatal(_))));
        assert!(matches!(name(ServerId(-1)), Err(DriverError::Fatal(_))));
    }
}

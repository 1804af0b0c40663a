//! Captures what passes a link: in the place where the host's own stack gets it, after all rules of the ingress.

use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

/// Everything that forged frames are made of; another one is for the test that has it.
const KINDS: [u16; 4] = [0x0800, 0x0806, 0x86dd, 0x88cc];

/// An open capture.
pub struct Capture(Vec<std::fs::File>);

impl Capture {
    /// On a link of the namespace that the thread is in. Sockets that want one kind of frame come after the rules; one that
    /// wanted all of them would come before.
    pub fn on(link: &str) -> Self {
        let name = std::ffi::CString::new(link).unwrap();
        // SAFETY: `name` ends with a zero byte and lives through the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        assert!(index > 0, "there is no link {link}");
        Self(KINDS.iter().map(|kind| open(index, *kind)).collect())
    }

    /// The frames that come within the time, until `enough` is content with them.
    pub fn frames(&mut self, within: Duration, enough: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
        let until = Instant::now() + within;
        let (mut all, mut frame) = (Vec::new(), vec![0; 4096]);
        while Instant::now() < until && !enough(&all) {
            let before = all.len();
            for socket in &mut self.0 {
                while let Ok(length) = socket.read(&mut frame) {
                    all.push(frame[..length].to_vec());
                }
            }
            if all.len() == before {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        all
    }
}

fn open(index: u32, kind: u16) -> std::fs::File {
    let protocol = i32::from(kind.to_be());
    // SAFETY: the arguments are integers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, protocol) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was just opened, and nobody else owns it.
    let socket = unsafe { std::fs::File::from_raw_fd(fd) };
    // SAFETY: a sockaddr_ll of zeros is a valid one.
    let mut link: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    link.sll_family = u16::try_from(libc::AF_PACKET).unwrap();
    link.sll_protocol = kind.to_be();
    link.sll_ifindex = i32::try_from(index).unwrap();
    let size = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap();
    // SAFETY: `link` is the address that the length says, and lives through the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const link).cast(), size) };
    assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
    socket
}

//! Sends frames as they are: a program for the inside of a guest, which the tests build by itself, without libraries.
//!
//! Usage: sender INTERFACE < FILE, where each frame is preceded by its length, two bytes, the higher one first.

use std::ffi::CString;
use std::io::Read;

const AF_PACKET: i32 = 17;
const SOCK_RAW: i32 = 3;

/// `struct sockaddr_ll`.
#[repr(C)]
struct Link {
    family: u16,
    protocol: u16,
    index: i32,
    hardware: u16,
    kind: u8,
    length: u8,
    address: [u8; 8],
}

extern "C" {
    fn socket(domain: i32, kind: i32, protocol: i32) -> i32;
    fn sendto(fd: i32, data: *const u8, length: usize, flags: i32, to: *const Link, size: u32) -> isize;
    fn if_nametoindex(name: *const std::ffi::c_char) -> u32;
}

fn main() {
    let name = CString::new(std::env::args().nth(1).expect("an interface")).expect("a name");
    let index = unsafe { if_nametoindex(name.as_ptr()) };
    assert!(index > 0, "no such interface");
    let fd = unsafe { socket(AF_PACKET, SOCK_RAW, 0) };
    assert!(fd >= 0, "no raw socket: {}", std::io::Error::last_os_error());
    let to = Link {
        family: AF_PACKET as u16,
        protocol: 0,
        index: index as i32,
        hardware: 0,
        kind: 0,
        length: 6,
        address: [0; 8],
    };
    let mut all = Vec::new();
    std::io::stdin().read_to_end(&mut all).expect("frames");
    let (mut rest, mut count) = (&all[..], 0);
    while let [high, low, tail @ ..] = rest {
        let length = usize::from(*high) << 8 | usize::from(*low);
        let (frame, after) = tail.split_at(length);
        let sent = unsafe { sendto(fd, frame.as_ptr(), frame.len(), 0, &to, size_of::<Link>() as u32) };
        assert_eq!(sent, length as isize, "frame {count}: {}", std::io::Error::last_os_error());
        rest = after;
        count += 1;
    }
    println!("sent {count}");
}

//! Reads the counters of forged frames straight from the kernel, by nf_tables' own netlink messages.
//!
//! The `nft` tool reads every table of the host before it answers a question about one, which takes seconds where
//! there are a hundred taps; the kernel answers in microseconds. Formats: `linux/netfilter/nfnetlink.h` and
//! `linux/netfilter/nf_tables.h`; integers inside attributes are big endian. Must not know: what is counted.

use crate::DriverError;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

const SUBSYSTEM: u16 = 10 << 8; // NFNL_SUBSYS_NFTABLES
const NEW_OBJECT: u16 = SUBSYSTEM | 18; // NFT_MSG_NEWOBJ
const GET_OBJECT: u16 = SUBSYSTEM | 19; // NFT_MSG_GETOBJ
const ERROR: u16 = 2; // NLMSG_ERROR
const DONE: u16 = 3; // NLMSG_DONE
const REQUEST: u16 = 1; // NLM_F_REQUEST
const DUMP: u16 = 0x300; // NLM_F_DUMP
const NETDEV: u8 = 5; // NFPROTO_NETDEV
const COUNTER: u32 = 1; // NFT_OBJECT_COUNTER
const OBJECT_TABLE: u16 = 1;
const OBJECT_NAME: u16 = 2;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
const COUNTER_PACKETS: u16 = 2;
/// Without the bits that say nested or big endian.
const KIND: u16 = 0x3fff;
/// Of a message: length, type, flags, sequence, port; then family, version, resource.
const HEADER: usize = 16 + 4;

/// Packets counted by a named counter of a netdev table; `None` if there is no such counter.
///
/// # Errors
/// `Retry` if the kernel cannot be asked.
pub(super) fn packets(table: &str, name: &str) -> Result<Option<u64>, DriverError> {
    let failure =
        |errno: Errno| DriverError::Retry(format!("cannot read counter {name} of table {table}: {errno}"));
    let kernel = ask(REQUEST, &[(OBJECT_TABLE, text(table)), (OBJECT_NAME, text(name))]).map_err(failure)?;
    match understand(&hear(&kernel).map_err(failure)?) {
        Ok(counter) => counter.map(|(_, packets)| Some(packets)).ok_or_else(|| failure(Errno::EBADMSG)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(failure(errno)),
    }
}

/// The names of all counters of a netdev table; none if there is no such table.
///
/// # Errors
/// `Retry` if the kernel cannot be asked.
pub(super) fn names(table: &str) -> Result<Vec<String>, DriverError> {
    let failure =
        |errno: Errno| DriverError::Retry(format!("cannot list the counters of table {table}: {errno}"));
    let kernel = ask(REQUEST | DUMP, &[(OBJECT_TABLE, text(table))]).map_err(failure)?;
    let mut names = Vec::new();
    loop {
        let answer = hear(&kernel).map_err(failure)?;
        let mut rest = &answer[..];
        while let Some((head, _)) = rest.split_first_chunk::<6>() {
            let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if u16::from_ne_bytes([head[4], head[5]]) == DONE {
                return Ok(names);
            }
            let message = rest.get(..length).filter(|it| it.len() >= HEADER);
            let message = message.ok_or_else(|| failure(Errno::EBADMSG))?;
            names.extend(understand(message).map_err(failure)?.map(|(name, _)| name));
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

/// Asks the kernel for counters; what it answers is to be [heard](hear) on the socket.
fn ask(flags: u16, attributes: &[(u16, Vec<u8>)]) -> Result<OwnedFd, Errno> {
    let kind = (OBJECT_TYPE, COUNTER.to_be_bytes().to_vec());
    let mut message = vec![0; 4];
    message.extend(GET_OBJECT.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([NETDEV, 0, 0, 0]);
    for (kind, value) in attributes.iter().chain([&kind]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        message.extend(length.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(value);
        message.resize(message.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&length.to_ne_bytes());
    let close = SockFlag::SOCK_CLOEXEC;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, close, SockProtocol::NetlinkNetFilter)?;
    sendto(kernel.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    Ok(kernel)
}

/// The next part of the answer. The kernel answers while it is asked, so there is nothing to wait for.
fn hear(kernel: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut answer = vec![0; 64 * 1024];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    answer.truncate(length);
    Ok(answer)
}

/// The counter in a message, its name and its packets: `Ok(None)` if it holds none.
fn understand(message: &[u8]) -> Result<Option<(String, u64)>, Errno> {
    let Some(kind) = message.get(4..6) else { return Ok(None) };
    match u16::from_ne_bytes([kind[0], kind[1]]) {
        ERROR => {
            let code = message.get(16..20).and_then(|it| it.try_into().ok()).map_or(0, i32::from_ne_bytes);
            Err(Errno::from_raw(-code))
        }
        NEW_OBJECT => {
            let attributes = message.get(HEADER..).unwrap_or_default();
            let name = attribute(attributes, OBJECT_NAME).and_then(|it| it.strip_suffix(&[0]));
            let packets = attribute(attributes, OBJECT_DATA).and_then(|it| attribute(it, COUNTER_PACKETS));
            let packets = packets.and_then(|it| it.try_into().ok()).map(u64::from_be_bytes);
            Ok(name.zip(packets).map(|(name, packets)| (String::from_utf8_lossy(name).into_owned(), packets)))
        }
        _ => Ok(None),
    }
}

/// The value of the first attribute of that kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let (head, _) = attributes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        if u16::from_ne_bytes([head[2], head[3]]) & KIND == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_and_a_broken_one_is_not_trusted() {
        let mut answer = vec![0; HEADER];
        answer[4..6].copy_from_slice(&NEW_OBJECT.to_ne_bytes());
        let mut attribute = |kind: u16, value: &[u8]| {
            answer.extend(u16::try_from(4 + value.len()).unwrap().to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(value);
            answer.resize(answer.len().next_multiple_of(4), 0);
        };
        attribute(OBJECT_TABLE, b"bulut\0");
        attribute(OBJECT_NAME, b"bv7\0");
        let bytes = [&[12, 0, 1, 0][..], &9_u64.to_be_bytes()].concat();
        let packets = [&[12, 0, 2, 0][..], &3_u64.to_be_bytes()].concat();
        attribute(OBJECT_DATA | 0x8000, &[bytes, packets].concat());
        assert_eq!(understand(&answer), Ok(Some(("bv7".to_owned(), 3))));
        for end in 0..answer.len() {
            assert_eq!(understand(&answer[..end]), Ok(None), "cut at {end}");
        }
    }
}

//! Asks the kernel about nf_tables by its own netlink messages.
//!
//! The `nft` tool reads every table of the host before it answers a question about one, which takes seconds where
//! there are a hundred taps; the kernel answers in microseconds. Formats: `linux/netfilter/nfnetlink.h` and
//! `linux/netfilter/nf_tables.h`; integers inside attributes are big endian. Must not know: what is asked for.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::os::fd::{AsRawFd, OwnedFd};

const SUBSYSTEM: u16 = 10 << 8; // NFNL_SUBSYS_NFTABLES
const ERROR: u16 = 2; // NLMSG_ERROR
const DONE: u16 = 3; // NLMSG_DONE
const REQUEST: u16 = 1; // NLM_F_REQUEST
const DUMP: u16 = 0x300; // NLM_F_DUMP
const INTERRUPTED: u16 = 0x10; // NLM_F_DUMP_INTR
/// Without the bits that say nested or big endian.
const KIND: u16 = 0x3fff;
/// Of a message: length, type, flags, sequence, port; then family, version, resource.
const HEADER: usize = 16 + 4;

/// Whose table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// No table at all.
    Any = 0,
    /// The host's.
    Inet = 1,
    /// The taps'.
    Netdev = 5,
}

/// A question: its number in `enum nf_tables_msg_types`, the table's family, and what it names.
pub(super) struct Question<'a> {
    pub kind: u16,
    pub family: Family,
    pub attributes: &'a [(u16, Vec<u8>)],
}

/// A name as the kernel wants it.
pub(super) fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

/// The attributes of the one thing that was asked for.
///
/// # Errors
/// The kernel's, `ENOENT` when there is no such thing; `EBADMSG` for an answer that is none.
pub(super) fn get(question: &Question<'_>) -> Result<Vec<u8>, Errno> {
    let kernel = ask(question, REQUEST)?;
    let answer = hear(&kernel)?;
    match understand(&answer, answer_to(question))? {
        Some(attributes) => Ok(attributes.to_vec()),
        None => Err(Errno::EBADMSG),
    }
}

/// Shows the attributes of each thing that was asked for, in the kernel's order.
///
/// # Errors
/// The kernel's; `EINTR` when something changed meanwhile, so that what was shown may never have been.
pub(super) fn dump(question: &Question<'_>, mut show: impl FnMut(&[u8])) -> Result<(), Errno> {
    let kernel = ask(question, REQUEST | DUMP)?;
    loop {
        let answer = hear(&kernel)?;
        let mut rest = &answer[..];
        while let Some((head, _)) = rest.split_first_chunk::<8>() {
            let length = u32::from_ne_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if u16::from_ne_bytes([head[6], head[7]]) & INTERRUPTED != 0 {
                return Err(Errno::EINTR);
            }
            if u16::from_ne_bytes([head[4], head[5]]) == DONE {
                return Ok(());
            }
            let message = rest.get(..length).filter(|it| it.len() >= HEADER).ok_or(Errno::EBADMSG)?;
            if let Some(attributes) = understand(message, answer_to(question))? {
                show(attributes);
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// The kind of what answers: each question's number is one more than that of what it asks for.
fn answer_to(question: &Question<'_>) -> u16 {
    SUBSYSTEM | (question.kind - 1)
}

/// Asks the kernel; what it answers is to be [heard](hear) on the socket.
fn ask(question: &Question<'_>, flags: u16) -> Result<OwnedFd, Errno> {
    let mut message = vec![0; 4];
    message.extend((SUBSYSTEM | question.kind).to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([question.family as u8, 0, 0, 0]);
    for (kind, value) in question.attributes {
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

/// The attributes in a message: `Ok(None)` if it holds none of that kind.
fn understand(message: &[u8], wanted: u16) -> Result<Option<&[u8]>, Errno> {
    let Some(kind) = message.get(4..6) else { return Ok(None) };
    match u16::from_ne_bytes([kind[0], kind[1]]) {
        ERROR => {
            let code = message.get(16..20).and_then(|it| it.try_into().ok()).map_or(0, i32::from_ne_bytes);
            Err(Errno::from_raw(-code))
        }
        kind if kind == wanted => Ok(message.get(HEADER..)),
        _ => Ok(None),
    }
}

/// The value of the first attribute of that kind.
pub(super) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    each(attributes).find(|(it, _)| *it == kind).map(|(_, value)| value)
}

/// All attributes with their kinds, as far as they are whole.
pub(super) fn each(mut attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, _) = attributes.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = attributes.get(4..length)?;
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([head[2], head[3]]) & KIND, value))
    })
}

/// The name in an attribute.
pub(super) fn name(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An attribute as the kernel writes it.
    pub fn written(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn attributes_are_understood_and_broken_ones_are_not_trusted() {
        let all = [written(1, b"bulut\0"), written(2 | 0x8000, &written(7, &[9; 8]))].concat();
        assert_eq!(attribute(&all, 1).map(name).as_deref(), Some("bulut"));
        assert_eq!(attribute(&all, 2).and_then(|it| attribute(it, 7)), Some(&[9; 8][..]));
        for end in 0..all.len() {
            assert!(attribute(&all[..end], 2).is_none(), "cut at {end}");
        }
    }

    #[test]
    fn a_refusal_is_an_error_and_another_kind_of_message_nothing() {
        let mut message = vec![0; HEADER + 4];
        message[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        message[16..20].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(understand(&message, SUBSYSTEM | 18), Err(Errno::ENOENT));
        message[4..6].copy_from_slice(&(SUBSYSTEM | 3).to_ne_bytes());
        assert_eq!(understand(&message, SUBSYSTEM | 18), Ok(None));
        assert_eq!(understand(&[], SUBSYSTEM | 18), Ok(None));
    }
}

//! Speaks with the kernel about nf_tables, by its own netlink messages.
//!
//! Promises: a transaction holds as a whole or not at all; an answer is of the question that was asked. A question about one
//! thing takes microseconds, however many there are. The socket belongs to the network namespace of the thread that opened
//! it, and stays open: when one is closed, the kernel waits until all that was deleted is gone, which takes tens of
//! milliseconds. Formats: `linux/netfilter/nfnetlink.h` and `linux/netfilter/nf_tables.h`; integers inside attributes are
//! big endian. Must not know: what is asked for or changed.

use super::transaction::{Family, Table, Transaction};
use crate::DriverError;
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket,
    sockopt,
};
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

const SUBSYSTEM: u16 = 10 << 8; // NFNL_SUBSYS_NFTABLES
const GET_CHAIN: u16 = 4; // NFT_MSG_GETCHAIN
const CHAIN_TABLE: u16 = 1; // NFTA_CHAIN_TABLE
const CHAIN_NAME: u16 = 3; // NFTA_CHAIN_NAME
const CHAIN_HOOK: u16 = 4; // NFTA_CHAIN_HOOK
const CHAIN_POLICY: u16 = 5; // NFTA_CHAIN_POLICY
const HOOK_NUMBER: u16 = 1; // NFTA_HOOK_HOOKNUM
const HOOK_PRIORITY: u16 = 2; // NFTA_HOOK_PRIORITY
const GET_GENERATION: u16 = 16; // NFT_MSG_GETGEN
const GENERATION: u16 = 1; // NFTA_GEN_ID
const ERROR: u16 = 2; // NLMSG_ERROR
const DONE: u16 = 3; // NLMSG_DONE
const DUMP: u16 = 0x300; // NLM_F_DUMP
const INTERRUPTED: u16 = 0x10; // NLM_F_DUMP_INTR
/// Without the bits that say nested or big endian.
const KIND: u16 = 0x3fff;
/// Of a message: length, type, flags, sequence, port; then family, version, resource.
const HEADER: usize = 16 + 4;
/// How many bytes of messages a socket takes at once unless it is told to take more.
const USUAL: usize = 128 * 1024;

/// A question: its number in `enum nf_tables_msg_types`, the table's family, and what it names.
pub(super) struct Question<'a> {
    pub kind: u16,
    pub family: Family,
    pub attributes: &'a [(u16, Vec<u8>)],
}

/// A chain that gets packets from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hooked {
    pub table: String,
    pub chain: String,
    pub hook: u32,
    pub priority: i32,
    /// What becomes of packets that no rule ends.
    pub policy: u32,
}

/// An open conversation.
#[derive(Debug)]
pub(super) struct Kernel(Mutex<Conversation>);

#[derive(Debug)]
struct Conversation {
    socket: OwnedFd,
    /// The numbers of the messages that were sent last: the first and the last of them.
    numbers: (u32, u32),
}

/// A name as the kernel wants it.
pub(super) fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

impl Kernel {
    /// Opens a socket.
    ///
    /// # Errors
    /// `Fatal` if there is none to be had.
    pub fn open() -> Result<Self, DriverError> {
        let close = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, close, SockProtocol::NetlinkNetFilter);
        let socket =
            socket.map_err(|errno| DriverError::Fatal(format!("cannot speak with nf_tables: {errno}")))?;
        Ok(Self(Mutex::new(Conversation { socket, numbers: (0, 0) })))
    }

    fn conversation(&self) -> std::sync::MutexGuard<'_, Conversation> {
        // Each exchange has numbers of its own, so one that ended in the middle does no harm to the next.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The attributes of the one thing that was asked for.
    ///
    /// # Errors
    /// The kernel's, `ENOENT` when there is no such thing; `EBADMSG` for an answer that is none.
    pub fn get(&self, question: &Question<'_>) -> Result<Vec<u8>, Errno> {
        let mut conversation = self.conversation();
        conversation.ask(question, NLM_F_REQUEST)?;
        let mut found = None;
        while found.is_none() {
            let answer = conversation.hear()?;
            for message in conversation.messages(&answer) {
                found = found.or(understand(message, answer_to(question))?.map(<[u8]>::to_vec));
            }
        }
        found.ok_or(Errno::EBADMSG)
    }

    /// Shows the attributes of each thing that was asked for, in the kernel's order.
    ///
    /// # Errors
    /// The kernel's; `EINTR` when something changed meanwhile, so that what was shown may never have been.
    pub fn dump(&self, question: &Question<'_>, mut show: impl FnMut(&[u8])) -> Result<(), Errno> {
        let mut conversation = self.conversation();
        conversation.ask(question, NLM_F_REQUEST | DUMP)?;
        let mut interrupted = false;
        loop {
            let answer = conversation.hear()?;
            for message in conversation.messages(&answer) {
                interrupted |= number(message, 6) & INTERRUPTED != 0;
                if number(message, 4) == DONE {
                    return if interrupted { Err(Errno::EINTR) } else { Ok(()) };
                }
                if let Some(attributes) = understand(message, answer_to(question))? {
                    show(attributes);
                }
            }
        }
    }

    /// How often any rule of the host has changed; it wraps.
    ///
    /// # Errors
    /// `Retry` if the kernel does not say.
    pub fn generation(&self) -> Result<u32, DriverError> {
        let failure =
            |errno| DriverError::Retry(format!("cannot ask how often the host's rules changed: {errno}"));
        let answer = self.get(&Question { kind: GET_GENERATION, family: Family::Any, attributes: &[] });
        let answer = answer.map_err(failure)?;
        let id = attribute(&answer, GENERATION).and_then(|it| it.try_into().ok()).map(u32::from_be_bytes);
        id.ok_or_else(|| failure(Errno::EBADMSG))
    }

    /// Whether there is a chain of that name.
    ///
    /// # Errors
    /// `Retry` if the kernel does not say.
    pub fn has_chain(&self, table: &Table, chain: &str) -> Result<bool, DriverError> {
        let attributes = [(CHAIN_TABLE, text(&table.name)), (CHAIN_NAME, text(chain))];
        match self.get(&Question { kind: GET_CHAIN, family: table.family, attributes: &attributes }) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(DriverError::Retry(format!("cannot ask for chain {chain}: {errno}"))),
        }
    }

    /// All chains of a family's tables that get packets from the kernel.
    ///
    /// # Errors
    /// `Retry` if the kernel does not say.
    pub fn hooked(&self, family: Family) -> Result<Vec<Hooked>, DriverError> {
        let mut found = Vec::new();
        let number = |attributes: &[u8], kind| -> Option<u32> {
            Some(u32::from_be_bytes(attribute(attributes, kind)?.try_into().ok()?))
        };
        let seen = self.dump(&Question { kind: GET_CHAIN, family, attributes: &[] }, |chain| {
            let named = |kind| attribute(chain, kind).map(name).unwrap_or_default();
            let place = attribute(chain, CHAIN_HOOK)
                .and_then(|it| number(it, HOOK_NUMBER).zip(number(it, HOOK_PRIORITY)));
            found.extend(place.map(|(hook, priority)| Hooked {
                table: named(CHAIN_TABLE),
                chain: named(CHAIN_NAME),
                hook,
                priority: priority.cast_signed(),
                policy: number(chain, CHAIN_POLICY).unwrap_or(u32::MAX),
            }));
        });
        match seen {
            Ok(()) | Err(Errno::ENOENT) => Ok(found),
            Err(errno) => Err(DriverError::Retry(format!("cannot list the host's chains: {errno}"))),
        }
    }

    /// Carries a transaction out.
    ///
    /// # Errors
    /// `Retry` with the kernel's word; then nothing has changed.
    pub fn commit(&self, transaction: &Transaction) -> Result<(), DriverError> {
        self.conversation().hand_in(transaction, true)
    }

    /// Asks whether a transaction would be carried out, and changes nothing.
    ///
    /// # Errors
    /// As [`Kernel::commit`].
    pub fn check(&self, transaction: &Transaction) -> Result<(), DriverError> {
        self.conversation().hand_in(transaction, false)
    }
}

impl Conversation {
    /// Asks the kernel; what it answers is to be [heard](Self::hear).
    fn ask(&mut self, question: &Question<'_>, flags: u16) -> Result<(), Errno> {
        let sequence = self.reserve(1);
        let mut message = vec![0; 4];
        message.extend((SUBSYSTEM | question.kind).to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(sequence.to_ne_bytes());
        message.extend([0; 4]);
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
        self.say(&message)
    }

    /// Numbers for as many messages, of which the first is given back. What is heard of older ones is passed over.
    fn reserve(&mut self, messages: usize) -> u32 {
        let first = self.numbers.1.wrapping_add(1);
        self.numbers =
            (first, first.wrapping_add(u32::try_from(messages).unwrap_or(u32::MAX)).wrapping_sub(1));
        first
    }

    fn say(&self, message: &[u8]) -> Result<(), Errno> {
        sendto(self.socket.as_raw_fd(), message, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
    }

    /// The next part of the answer. The kernel answers while it is asked, so there is nothing to wait for.
    fn hear(&self) -> Result<Vec<u8>, Errno> {
        let mut answer = vec![0; 64 * 1024];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
        answer.truncate(length);
        Ok(answer)
    }

    /// The messages in a part of the answer to what was asked last.
    fn messages<'a>(&self, mut part: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (first, last) = self.numbers;
        std::iter::from_fn(move || {
            let length = u32::from_ne_bytes(part.first_chunk().copied()?) as usize;
            let message = part.get(..length).filter(|it| it.len() >= 16)?;
            part = part.get(length.next_multiple_of(4)..).unwrap_or_default();
            Some(message)
        })
        .filter(move |message| sequence_of(message).wrapping_sub(first) <= last.wrapping_sub(first))
    }

    /// Hands a transaction in: as one that ends, or as one whose end is missing, which the kernel checks and forgets.
    fn hand_in(&mut self, transaction: &Transaction, ends: bool) -> Result<(), DriverError> {
        let failure =
            |why: String| DriverError::Retry(format!("the kernel refused a change of its rules: {why}"));
        if transaction.changes.is_empty() {
            return Ok(());
        }
        let first = self.reserve(transaction.changes.len() + 2);
        let bytes = written(transaction, ends, first);
        if bytes.len() > USUAL {
            setsockopt(&self.socket, sockopt::SndBufForce, &(2 * bytes.len()))
                .map_err(|errno| failure(format!("no room for {} bytes: {errno}", bytes.len())))?;
        }
        self.say(&bytes).map_err(|errno| failure(errno.to_string()))?;
        let mut acknowledged = false;
        loop {
            let answer = match self.hear() {
                Ok(answer) => answer,
                Err(Errno::EAGAIN) if acknowledged => return Ok(()),
                Err(errno) => return Err(failure(errno.to_string())),
            };
            for message in self.messages(&answer) {
                match error(message) {
                    None => {}
                    Some(Errno::UnknownErrno) => acknowledged = true,
                    Some(errno) => {
                        let nth = sequence_of(message).wrapping_sub(first).wrapping_sub(1) as usize;
                        let change = transaction.changes.get(nth).map(|(change, _)| change);
                        tracing::debug!(nftables.change = ?change, %errno, "the kernel refused a change of its rules");
                        return Err(failure(format!(
                            "{errno} (change {nth} of {})",
                            transaction.changes.len()
                        )));
                    }
                }
            }
        }
    }
}

/// A transaction as the kernel reads it, its messages numbered from `first`. The last change is to be acknowledged.
fn written(transaction: &Transaction, ends: bool, first: u32) -> Vec<u8> {
    let control = |message| {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM >> 8);
        (NetfilterMessage::new(header, message), NLM_F_REQUEST)
    };
    let (mut bytes, mut next) = (Vec::new(), first);
    let mut write = |(message, flags): (NetfilterMessage, u16)| {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = next;
        next = next.wrapping_add(1);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        message.finalize();
        let begin = bytes.len();
        bytes.resize(begin + message.buffer_len(), 0);
        message.serialize(&mut bytes[begin..]);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    write(control(ControlMessage::BatchBegin));
    let last = transaction.changes.len().saturating_sub(1);
    for (nth, (message, flags)) in transaction.changes.iter().enumerate() {
        write((message.clone(), if nth == last { flags | NLM_F_ACK } else { *flags }));
    }
    if ends {
        write(control(ControlMessage::BatchEnd));
    }
    bytes
}

/// The 16-bit number at this byte of a message's head; 0 if the message is shorter.
fn number(message: &[u8], at: usize) -> u16 {
    message.get(at..at + 2).and_then(|it| it.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

fn sequence_of(message: &[u8]) -> u32 {
    message.get(8..12).and_then(|it| it.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// The kernel's word on what it was told: an error, or `UnknownErrno` for none.
fn error(message: &[u8]) -> Option<Errno> {
    let code = message.get(16..20).and_then(|it| it.try_into().ok()).map_or(0, i32::from_ne_bytes);
    (number(message, 4) == ERROR).then(|| Errno::from_raw(-code))
}

/// The kind of what answers: each question's number is one more than that of what it asks for.
fn answer_to(question: &Question<'_>) -> u16 {
    SUBSYSTEM | (question.kind - 1)
}

/// The attributes in a message: `Ok(None)` if it holds none of that kind.
fn understand(message: &[u8], wanted: u16) -> Result<Option<&[u8]>, Errno> {
    match error(message) {
        Some(errno) => Err(errno),
        None if number(message, 4) == wanted => Ok(message.get(HEADER..)),
        None => Ok(None),
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

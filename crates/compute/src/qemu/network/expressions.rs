//! What rules of nf_tables are made of: tests of a packet, and what becomes of it.
//!
//! Promises: each term is the kernel's own form of one idea, and a rule is its terms in order: the first test that fails
//! ends it. Formats: `linux/netfilter/nf_tables.h`. Must not know: what rules are for, or how they get into the kernel.

use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, Expressions, Immediate, Lookup, Meta, MetaKey, Operator, Payload, Register,
    Verdict, VerdictAttribute,
};
use rtnetlink::packet_core::DefaultNla;
use std::net::IpAddr;

/// A part of a rule.
pub(super) type Term = Vec<Expressions>;

/// Where the bytes of a field are counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// The Ethernet header; a tag that the kernel has set aside is put back for it.
    Frame = 0, // NFT_PAYLOAD_LL_HEADER
    /// The header of IPv4, IPv6 or ARP.
    Packet = 1, // NFT_PAYLOAD_NETWORK_HEADER
    /// The header of TCP, UDP, ICMP and the like; a fragment but the first has none, and no test of it holds.
    Transport = 2, // NFT_PAYLOAD_TRANSPORT_HEADER
}

/// What a test looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// Bytes of the packet: the header, the first byte, how many.
    Bytes(Header, u32, u32),
    /// What the kernel knows of the packet, such as where it came in.
    Meta(MetaKey),
}

const COUNTER: u32 = 1; // NFT_OBJECT_COUNTER
const DROP: Verdict = Verdict::Other(0); // NF_DROP
const ACCEPT: Verdict = Verdict::Other(1); // NF_ACCEPT
/// Bits of a connection's state: established, related (NF_CT_STATE_BIT).
const KNOWN: u32 = 1 << 1 | 1 << 2;
const ICMPX_UNREACHABLE: u32 = 2; // NFT_REJECT_ICMPX_UNREACH
const HOST_UNREACHABLE: u8 = 2; // NFT_REJECT_ICMPX_HOST_UNREACH

/// The kernel's number of a protocol family, as `nfproto` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Ipv4 = 2,
    Ipv6 = 10,
}

impl Protocol {
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// The first byte and the length of the source address in the packet's header.
    pub const fn source(self) -> (u32, u32) {
        match self {
            Self::Ipv4 => (12, 4),
            Self::Ipv6 => (8, 16),
        }
    }

    /// The same of the destination.
    pub const fn destination(self) -> (u32, u32) {
        let (first, length) = self.source();
        (first + length, length)
    }
}

/// The bytes of an address.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn load(field: Field, into: Register) -> Expressions {
    match field {
        Field::Bytes(header, offset, length) => Expressions::Payload(vec![
            Payload::DestinationRegister(into),
            Payload::Base(header as u32),
            Payload::Offset(offset),
            Payload::Len(length),
        ]),
        Field::Meta(key) => Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(into)]),
    }
}

fn compare(operator: Operator, value: impl Into<Vec<u8>>) -> Expressions {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value.into())),
    ])
}

fn mask(mask: Vec<u8>) -> Expressions {
    let length = mask.len();
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(u32::try_from(length).unwrap_or(u32::MAX)),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(vec![0; length])),
    ])
}

fn test(field: Field, operator: Operator, value: impl Into<Vec<u8>>) -> Term {
    vec![load(field, Register::Reg1), compare(operator, value)]
}

/// The field has this value, as it stands in the packet. A name of an interface may be just its beginning.
pub(super) fn is(field: Field, value: impl Into<Vec<u8>>) -> Term {
    test(field, Operator::Equal, value)
}

/// The field has another value.
pub(super) fn is_not(field: Field, value: impl Into<Vec<u8>>) -> Term {
    test(field, Operator::NotEqual, value)
}

/// The field is a number above this one.
pub(super) fn is_above(field: Field, value: impl Into<Vec<u8>>) -> Term {
    test(field, Operator::GreaterThan, value)
}

/// The field is a number from the first to the last.
pub(super) fn is_between(field: Field, first: impl Into<Vec<u8>>, last: impl Into<Vec<u8>>) -> Term {
    let (least, most) = (Operator::GreatherThanEqual, Operator::LessThanEqual);
    vec![load(field, Register::Reg1), compare(least, first), compare(most, last)]
}

/// The address at this byte of a header lies in the network.
pub(super) fn lies(header: Header, offset: u32, (network, prefix): (IpAddr, u8)) -> Term {
    if prefix == 0 {
        return Term::new();
    }
    let all = octets(network);
    // The kernel is quickest with lengths that are powers of two.
    let length = usize::from(prefix).div_ceil(8).next_power_of_two().min(all.len());
    let ones: Vec<u8> = (0..length)
        .map(|nth| {
            let kept = usize::from(prefix).saturating_sub(nth * 8).min(8);
            u8::MAX.checked_shl(u32::try_from(8 - kept).unwrap_or(8)).unwrap_or(0)
        })
        .collect();
    let value: Vec<u8> = all.iter().zip(&ones).map(|(byte, ones)| byte & ones).collect();
    let mut term =
        vec![load(Field::Bytes(header, offset, u32::try_from(length).unwrap_or(16)), Register::Reg1)];
    if ones.iter().any(|it| *it != u8::MAX) {
        term.push(mask(ones));
    }
    term.push(compare(Operator::Equal, value));
    term
}

/// More packets came here than this many in a second, once `burst` of them came at once.
pub(super) fn is_too_often(in_a_second: u64, burst: u32) -> Term {
    let exceeded: u32 = 1; // NFT_LIMIT_F_INV
    vec![other(
        "limit",
        vec![
            (1, in_a_second.to_be_bytes().into()),
            (2, 1_u64.to_be_bytes().into()), // seconds
            (3, burst.to_be_bytes().into()),
            (4, 0_u32.to_be_bytes().into()), // NFT_LIMIT_PKTS
            (5, exceeded.to_be_bytes().into()),
        ],
    )]
}

/// The packet belongs to a connection that both sides know, or to one that such a connection called for.
pub(super) fn is_known() -> Term {
    let state = other("ct", vec![(1, 1_u32.to_be_bytes().into()), (2, 0_u32.to_be_bytes().into())]);
    vec![state, mask(KNOWN.to_ne_bytes().into()), compare(Operator::NotEqual, 0_u32.to_ne_bytes())]
}

fn verdict(verdict: Verdict, chain: Option<&str>) -> Vec<VerdictAttribute> {
    let chain = chain.map(|it| VerdictAttribute::Chain(it.to_owned()));
    std::iter::once(VerdictAttribute::Code(verdict)).chain(chain).collect()
}

fn end(with: Verdict) -> Term {
    vec![Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(verdict(with, None))),
    ])]
}

/// The packet passes this table.
pub(super) fn accept() -> Term {
    end(ACCEPT)
}

/// The packet is lost.
pub(super) fn drop() -> Term {
    end(DROP)
}

/// The packet goes back to the chain that sent it here.
pub(super) fn back() -> Term {
    end(Verdict::Return)
}

/// The value of a map that sends what has its key through a chain.
pub(super) fn through(chain: &str) -> DataAttribute {
    DataAttribute::Verdict(verdict(Verdict::Jump, Some(chain)))
}

/// The packet goes where a map sends its field; it goes on here if that is nowhere, or when it comes back.
pub(super) fn follow(map: &str, field: Field) -> Term {
    let look = Expressions::Lookup(vec![
        Lookup::Set(map.to_owned()),
        Lookup::SourceRegister(Register::Reg1),
        Lookup::DestinationRegister(Register::Verdict),
    ]);
    vec![load(field, Register::Reg1), look]
}

/// The packet is counted by a named counter.
pub(super) fn count(counter: &str) -> Term {
    let name = [counter.as_bytes(), &[0]].concat();
    vec![other("objref", vec![(1, COUNTER.to_be_bytes().into()), (2, name)])]
}

/// The frame leaves by the interface of that number as it is.
pub(super) fn leave_by(interface: u32) -> Term {
    let number = Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Reg1),
        Immediate::Data(DataAttribute::Value(interface.to_ne_bytes().into())),
    ]);
    vec![number, other("fwd", vec![(1, register(Register::Reg1))])]
}

/// The packet is handed to the neighbour that has its destination's address, by the interface that a map has for the
/// address. If the map has none, the rule does nothing.
pub(super) fn hand_over(map: &str, protocol: Protocol) -> Term {
    let (offset, length) = protocol.destination();
    let look = Expressions::Lookup(vec![
        Lookup::Set(map.to_owned()),
        Lookup::SourceRegister(Register::Reg1),
        Lookup::DestinationRegister(Register::Reg2),
    ]);
    let to = other(
        "fwd",
        vec![
            (1, register(Register::Reg2)),
            (2, register(Register::Reg1)),
            (3, (protocol as u32).to_be_bytes().into()),
        ],
    );
    vec![load(Field::Bytes(Header::Packet, offset, length), Register::Reg1), look, to]
}

/// The sender is told that there is no such host.
pub(super) fn refuse() -> Term {
    vec![other("reject", vec![(1, ICMPX_UNREACHABLE.to_be_bytes().into()), (2, vec![HOST_UNREACHABLE])])]
}

/// The packet goes on with the address of the interface that it leaves by.
pub(super) fn masquerade() -> Term {
    vec![other("masq", vec![])]
}

fn register(register: Register) -> Vec<u8> {
    u32::from(register).to_be_bytes().into()
}

/// An expression by its name and its attributes.
fn other(name: &str, attributes: Vec<(u16, Vec<u8>)>) -> Expressions {
    Expressions::Other {
        expression_type: name.to_owned(),
        attributes: attributes.into_iter().map(|(kind, value)| DefaultNla::new(kind, value)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(term: &Term) -> (u32, Option<Vec<u8>>, Vec<u8>) {
        let mut found = (0, None, vec![]);
        for expression in term {
            match expression {
                Expressions::Payload(attributes) => {
                    found.0 = attributes
                        .iter()
                        .find_map(|it| if let Payload::Len(it) = it { Some(*it) } else { None })
                        .unwrap();
                }
                Expressions::Bitwise(attributes) => {
                    found.1 = attributes.iter().find_map(|it| match it {
                        Bitwise::Mask(DataAttribute::Value(it)) => Some(it.clone()),
                        _ => None,
                    });
                }
                Expressions::Cmp(attributes) => {
                    found.2 = attributes
                        .iter()
                        .find_map(|it| match it {
                            Cmp::Data(DataAttribute::Value(it)) => Some(it.clone()),
                            _ => None,
                        })
                        .unwrap();
                }
                _ => {}
            }
        }
        found
    }

    #[test]
    fn as_many_bits_are_compared_as_the_network_has() {
        let v4 = |prefix| loaded(&lies(Header::Packet, 12, ("10.77.255.255".parse().unwrap(), prefix)));
        assert_eq!(v4(8), (1, None, vec![10]));
        assert_eq!(v4(16), (2, None, vec![10, 77]));
        assert_eq!(v4(20), (4, Some(vec![255, 255, 240, 0]), vec![10, 77, 240, 0]));
        assert_eq!(v4(32), (4, None, vec![10, 77, 255, 255]));
        assert_eq!(v4(1), (1, Some(vec![0x80]), vec![0]));
        let v6 = |prefix| loaded(&lies(Header::Packet, 8, ("fd77:1:2:3:4:5:6:7".parse().unwrap(), prefix)));
        assert_eq!(v6(64).0, 8);
        assert_eq!(v6(128).0, 16);
        assert_eq!(v6(10).1, Some(vec![255, 0xc0]));
        assert_eq!(v6(65).1.unwrap()[8..], [0x80, 0, 0, 0, 0, 0, 0, 0]);
        assert!(lies(Header::Packet, 8, ("::".parse().unwrap(), 0)).is_empty());
    }
}

//! Changes of nf_tables that hold as a whole or not at all.
//!
//! Promises: what is made twice is there once; what is deleted must be there. Formats: `linux/netfilter/nf_tables.h`.
//! Must not know: what the tables are for, or how a transaction gets into the kernel.

use super::expressions::Term;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, DevHookNumber, ExpressionAttribute, Expressions, Hook,
    HookNumber, InetHookNumber, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute,
    SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use rtnetlink::packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST};

/// Elements of one message; an attribute holds 64 KiB at most.
const ELEMENTS: usize = 500;
const COUNTER: u32 = 1; // NFT_OBJECT_COUNTER
const POLICY_ACCEPT: u32 = 1; // NF_ACCEPT
/// The kind of data that says where a packet goes.
const VERDICT: u32 = 0xffff_ff00; // NFT_DATA_VERDICT

/// Whose table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// No table at all.
    Any = 0,
    /// What passes the host.
    Inet = 1,
    /// The IPv4 of it.
    Ipv4 = 2,
    /// What comes in by an interface.
    Netdev = 5,
    /// The IPv6 of what passes the host.
    Ipv6 = 10,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Table {
    pub family: Family,
    pub name: String,
}

/// Where a chain gets its packets from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// From other chains.
    Nowhere,
    /// From an interface, as soon as they come in.
    Ingress(&'a str),
    /// From the host: the chain's kind, the hook, and the priority among all chains there.
    Host(&'a str, InetHookNumber, i32),
}

/// What a map's keys or values are: the number of the type and its byte order for those who show rules (`nft`'s own numbers),
/// and its length in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    number: u32,
    order: u32,
    length: u32,
}

const HOST_ORDER: u32 = 1; // BYTEORDER_HOST_ENDIAN
const NETWORK_ORDER: u32 = 2; // BYTEORDER_BIG_ENDIAN

impl Kind {
    pub const IPV4: Self = Self { number: 7, order: NETWORK_ORDER, length: 4 };
    pub const IPV6: Self = Self { number: 8, order: NETWORK_ORDER, length: 16 };
    pub const INTERFACE: Self = Self { number: 20, order: HOST_ORDER, length: 4 };
    pub const INTERFACE_NAME: Self = Self { number: 41, order: HOST_ORDER, length: 16 };
    pub const VERDICT: Self = Self { number: VERDICT, order: HOST_ORDER, length: 16 };
}

/// Changes, in order.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Each with the flags of its message.
    pub(super) changes: Vec<(NetfilterMessage, u16)>,
}

impl Transaction {
    fn push(&mut self, table: &Table, flags: u16, message: NfTablesMessage) {
        let family = match table.family {
            Family::Any => NetfilterProtoFamily::Unspec,
            Family::Inet => NetfilterProtoFamily::Inet,
            Family::Ipv4 => NetfilterProtoFamily::IPv4,
            Family::Ipv6 => NetfilterProtoFamily::IPv6,
            Family::Netdev => NetfilterProtoFamily::NetDev,
        };
        let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message);
        self.changes.push((message, NLM_F_REQUEST | flags));
    }

    /// Makes a table.
    pub fn table(&mut self, table: &Table) {
        let attributes = vec![TableAttribute::Name(table.name.clone())];
        self.push(table, NLM_F_CREATE, NfTablesMessage::NewTable(TableMessage { attributes }));
    }

    /// Makes a map.
    pub fn map(&mut self, table: &Table, name: &str, keys: Kind, values: Kind) {
        let mut attributes = vec![
            SetAttribute::Table(table.name.clone()),
            SetAttribute::Name(name.to_owned()),
            SetAttribute::Flags(SetFlags::Map),
            SetAttribute::KeyType(keys.number),
            SetAttribute::KeyLen(keys.length),
            SetAttribute::DataType(values.number),
        ];
        if values.number != VERDICT {
            attributes.push(SetAttribute::DataLen(values.length));
            // For those who show rules, as `nft` notes it: kind, length, value.
            let orders = [(0, keys.order), (1, values.order)]; // NFTNL_UDATA_SET_KEYBYTEORDER, …_DATABYTEORDER
            let noted = orders.map(|(kind, order)| [&[kind, 4][..], &order.to_ne_bytes()].concat());
            attributes.push(SetAttribute::UserData(noted.concat()));
        }
        // A number that is its own in the transaction.
        attributes.push(SetAttribute::Id(u32::try_from(self.changes.len() + 1).unwrap_or(u32::MAX)));
        self.push(table, NLM_F_CREATE, NfTablesMessage::NewSet(SetMessage { attributes }));
    }

    /// Makes a chain; what no rule ends passes.
    pub fn chain(&mut self, table: &Table, name: &str, place: Place<'_>) {
        let mut attributes =
            vec![ChainAttribute::Table(table.name.clone()), ChainAttribute::Name(name.to_owned())];
        let hook = |number: HookNumber, priority: i32| {
            vec![Hook::Number(number), Hook::Priority(priority.cast_unsigned())]
        };
        let hooked = match place {
            Place::Nowhere => None,
            Place::Ingress(device) => {
                let mut hook = hook(DevHookNumber::Ingress.into(), 0);
                hook.push(Hook::NetDeviceName(device.to_owned()));
                Some(("filter", hook))
            }
            Place::Host(kind, number, priority) => Some((kind, hook(number.into(), priority))),
        };
        if let Some((kind, hook)) = hooked {
            attributes.extend([
                ChainAttribute::Hook(hook),
                ChainAttribute::Policy(POLICY_ACCEPT),
                ChainAttribute::Type(kind.to_owned()),
            ]);
        }
        self.push(table, NLM_F_CREATE, NfTablesMessage::NewChain(ChainMessage { attributes }));
    }

    /// Deletes all rules of a chain.
    pub fn flush(&mut self, table: &Table, chain: &str) {
        let attributes =
            vec![RuleAttribute::Table(table.name.clone()), RuleAttribute::Chain(chain.to_owned())];
        self.push(table, 0, NfTablesMessage::DeleteRule(RuleMessage { attributes }));
    }

    /// Deletes a chain that has no rules and that nothing leads to.
    pub fn delete_chain(&mut self, table: &Table, name: &str) {
        let attributes =
            vec![ChainAttribute::Table(table.name.clone()), ChainAttribute::Name(name.to_owned())];
        self.push(table, 0, NfTablesMessage::DeleteChain(ChainMessage { attributes }));
    }

    /// Adds a rule at the end of a chain.
    pub fn rule(&mut self, table: &Table, chain: &str, terms: impl IntoIterator<Item = Term>) {
        let expressions: Vec<ListAttribute<ExpressionAttribute>> =
            terms.into_iter().flatten().map(Expressions::into).collect();
        let attributes = vec![
            RuleAttribute::Table(table.name.clone()),
            RuleAttribute::Chain(chain.to_owned()),
            RuleAttribute::Expressions(expressions),
        ];
        let flags = NLM_F_CREATE | NLM_F_APPEND;
        self.push(table, flags, NfTablesMessage::NewRule(RuleMessage { attributes }));
    }

    /// Makes a counter.
    pub fn counter(&mut self, table: &Table, name: &str) {
        let data = DefaultNla::new(4 | NESTED, vec![]);
        let attributes = [object(table, name), vec![data]].concat();
        self.push(table, NLM_F_CREATE, NfTablesMessage::NewObject(attributes));
    }

    /// Deletes a counter that no rule has.
    pub fn delete_counter(&mut self, table: &Table, name: &str) {
        self.push(table, 0, NfTablesMessage::DeleteObject(object(table, name)));
    }

    /// Puts elements into a map: keys, and what the map has for them.
    pub fn add(&mut self, table: &Table, map: &str, elements: &[(Vec<u8>, DataAttribute)]) {
        for part in elements.chunks(ELEMENTS) {
            let each = part.iter().map(|(key, value)| {
                let key = SetElementAttribute::Key(DataAttribute::Value(key.clone()));
                ListAttribute::Element(vec![key, SetElementAttribute::Data(value.clone())])
            });
            let message = SetElementMessage { attributes: elements_of(table, map, Some(each.collect())) };
            self.push(table, NLM_F_CREATE, NfTablesMessage::NewSetElement(message));
        }
    }

    /// Takes the elements of these keys out of a map.
    pub fn take(&mut self, table: &Table, map: &str, keys: &[Vec<u8>]) {
        for part in keys.chunks(ELEMENTS) {
            let key = |key: &Vec<u8>| {
                ListAttribute::Element(vec![SetElementAttribute::Key(DataAttribute::Value(key.clone()))])
            };
            let elements = part.iter().map(key).collect();
            let message = SetElementMessage { attributes: elements_of(table, map, Some(elements)) };
            self.push(table, 0, NfTablesMessage::DeleteSetElement(message));
        }
    }

    /// Takes all elements out of a map.
    pub fn empty(&mut self, table: &Table, map: &str) {
        let message = SetElementMessage { attributes: elements_of(table, map, None) };
        self.push(table, 0, NfTablesMessage::DeleteSetElement(message));
    }
}

const NESTED: u16 = 1 << 15; // NLA_F_NESTED

/// The attributes that name a counter: `NFTA_OBJ_TABLE`, `NFTA_OBJ_NAME`, `NFTA_OBJ_TYPE`.
fn object(table: &Table, name: &str) -> Vec<DefaultNla> {
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    vec![
        DefaultNla::new(1, text(&table.name)),
        DefaultNla::new(2, text(name)),
        DefaultNla::new(3, COUNTER.to_be_bytes().into()),
    ]
}

fn elements_of(
    table: &Table,
    map: &str,
    elements: Option<Vec<ListAttribute<SetElementAttribute>>>,
) -> Vec<SetElementList> {
    let named = [SetElementList::Table(table.name.clone()), SetElementList::Set(map.to_owned())];
    named.into_iter().chain(elements.map(SetElementList::Elements)).collect()
}

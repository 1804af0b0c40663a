//! What the kernel knows about a tap: the link itself, its addresses, routes and neighbours, through rtnetlink.
//!
//! Promises: `settle` adds what is missing and takes away what is stale, and touches nothing that is so already.
//! The socket belongs to the network namespace of the thread that opened it.

use super::{Mended, tap};
use crate::{DriverError, Nic};
use bulut_model::ServerId;
use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Stats64};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tokio::sync::Mutex;

/// A handle on the kernel's tables.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) kernel: Handle,
    /// Held while something is listed: the kernel refuses a second list on a socket that has not read the first to its end.
    listing: Mutex<()>,
}

/// A tap that is there.
#[derive(Debug)]
pub(super) struct Tap {
    pub index: u32,
    pub up: bool,
    mtu: u32,
    stats: Stats64,
    /// What kind of device it is, as far as the kernel tells.
    pub kind: Option<InfoKind>,
    name: String,
}

/// What belongs on a tap.
#[derive(Debug)]
struct Wanted {
    /// Addresses of the host on the tap, with their prefix length.
    addresses: Vec<(IpAddr, u8)>,
    /// Addresses of the guest: a host route and a neighbour each.
    guest: Vec<IpAddr>,
    /// The guest's own IPv6 network, and the address that it is routed to. No other address in it is looked for on the tap,
    /// so that nobody outside can fill the host's table of neighbours.
    network: Option<(Ipv6Addr, u8, Ipv6Addr)>,
    mac: Vec<u8>,
}

impl Wanted {
    fn of(nic: &Nic) -> Result<Self, DriverError> {
        let mut wanted =
            Self { addresses: vec![], guest: nic.addresses(), network: None, mac: mac(&nic.mac)?.into() };
        if let Some(v4) = nic.ipv4 {
            wanted.addresses.push((v4.gateway.into(), 32));
        }
        if let Some(v6) = nic.ipv6 {
            wanted.addresses.push((super::rules::LINK_GATEWAY.into(), 64));
            if v6.gateway != super::rules::LINK_GATEWAY {
                let prefix = if v6.gateway.is_unicast_link_local() { 64 } else { 128 };
                wanted.addresses.push((v6.gateway.into(), prefix));
            }
            if v6.prefix < 128 {
                wanted.network =
                    Some((super::rules::network_of(v6.address, v6.prefix), v6.prefix, v6.address));
            }
        }
        Ok(wanted)
    }
}

/// The six octets of `52:54:00:…`.
///
/// # Errors
/// `Fatal` if it is not the address of one network card.
pub(super) fn mac(text: &str) -> Result<[u8; 6], DriverError> {
    let octets: Option<Vec<u8>> = text
        .split(':')
        .map(|part| {
            (part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit()))
                .then(|| u8::from_str_radix(part, 16).ok())
                .flatten()
        })
        .collect();
    octets
        .and_then(|it| <[u8; 6]>::try_from(it).ok())
        .filter(|it| it[0] & 1 == 0)
        .ok_or_else(|| DriverError::Fatal(format!("{text} is not the MAC of one network card")))
}

/// A refusal for want of rights or of sense will not go away by itself.
pub(super) fn failure(what: &str) -> impl FnOnce(rtnetlink::Error) -> DriverError + '_ {
    move |error| match code(&error) {
        Some(libc::EPERM | libc::EACCES | libc::EINVAL | libc::EOPNOTSUPP) => {
            DriverError::Fatal(format!("cannot {what}: {error}"))
        }
        _ => DriverError::Retry(format!("cannot {what}: {error}")),
    }
}

/// The error number of a refusal, positive.
pub(super) fn code(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.code.map(|it| -it.get()),
        _ => None,
    }
}

/// What was to be taken away may have gone by itself.
pub(super) fn vanished(taken: Result<(), rtnetlink::Error>, what: &str) -> Result<(), DriverError> {
    match taken {
        Err(error)
            if matches!(
                code(&error),
                Some(libc::ESRCH | libc::ENOENT | libc::ENODEV | libc::EADDRNOTAVAIL)
            ) =>
        {
            Ok(())
        }
        other => other.map_err(failure(what)),
    }
}

impl Links {
    /// Opens a socket to the kernel; its task ends with the runtime or the last handle.
    pub fn open() -> Result<Self, DriverError> {
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .map_err(|error| DriverError::Fatal(format!("cannot open a netlink socket: {error}")))?;
        tokio::spawn(connection);
        Ok(Self { kernel: handle, listing: Mutex::default() })
    }

    /// The tap of that name, if it is there.
    pub async fn find(&self, name: &str) -> Result<Option<Tap>, DriverError> {
        let mut links = self.kernel.link().get().match_name(name).execute();
        match links.try_next().await {
            Ok(link) => Ok(link.map(read)),
            Err(error) if code(&error) == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(failure("look at a tap")(error)),
        }
    }

    /// The servers that have a tap.
    pub async fn servers(&self) -> Result<Vec<ServerId>, DriverError> {
        let _listing = self.listing.lock().await;
        let mut links = self.kernel.link().get().execute();
        let mut found = Vec::new();
        while let Some(link) = links.try_next().await.map_err(failure("list the taps"))? {
            let tap = read(link);
            found.extend(tap::server(&tap.name).filter(|_| tap.is_tap()));
        }
        Ok(found)
    }

    /// Brings addresses, routes and neighbours of a tap to what `nic` says; what was otherwise. `fresh`: nothing stale can
    /// be there.
    pub async fn settle(&self, tap: &Tap, nic: &Nic, fresh: bool) -> Result<Vec<Mended>, DriverError> {
        let wanted = Wanted::of(nic)?;
        let mut mended = Vec::new();
        if !tap.up || tap.mtu != u32::from(nic.mtu) {
            let change = LinkUnspec::new_with_index(tap.index).mtu(nic.mtu.into()).up().build();
            self.kernel.link().set(change).execute().await.map_err(failure("bring a tap up"))?;
            mended.push(Mended::Link);
        }
        let mut changes = 0;
        let addresses = if fresh { vec![] } else { self.addresses(tap).await? };
        // Addresses first: the kernel takes the routes that need them away by itself.
        for stale in
            addresses.iter().filter(|it| address_of(it).is_none_or(|it| !wanted.addresses.contains(&it)))
        {
            let del = self.kernel.address().del(stale.clone()).execute().await;
            vanished(del, "take a stale address off a tap")?;
            changes += 1;
        }
        let routes = if fresh { vec![] } else { self.routes(tap).await? };
        let neighbours = if fresh { vec![] } else { self.neighbours(tap).await? };
        let mut ways = self.drop_stale(&wanted, &routes, &neighbours).await?;
        let has = |address: &(IpAddr, u8)| addresses.iter().any(|it| address_of(it) == Some(*address));
        for (address, prefix) in wanted.addresses.iter().filter(|it| !has(it)) {
            let mut add = self.kernel.address().add(tap.index, *address, *prefix).replace();
            // The tap's other end is one guest: nobody can have the gateway's address before it.
            add.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            add.execute().await.map_err(failure("give a tap the gateway's address"))?;
            changes += 1;
        }
        ways += self.add_missing(tap, &wanted, &routes, &neighbours).await?;
        mended.extend((changes > 0).then_some(Mended::Addresses));
        mended.extend((ways > 0).then_some(Mended::Routes));
        Ok(mended)
    }

    /// Adds the routes and neighbours that are missing, and counts them.
    async fn add_missing(
        &self,
        tap: &Tap,
        wanted: &Wanted,
        routes: &[RouteMessage],
        neighbours: &[NeighbourMessage],
    ) -> Result<u32, DriverError> {
        let mut changes = 0;
        for guest in &wanted.guest {
            if !routes.iter().any(|it| leads_to(it, *guest)) {
                let add = self.kernel.route().add(host_route(tap.index, *guest)?).replace();
                add.execute().await.map_err(failure("route to a guest"))?;
                changes += 1;
            }
            if !neighbours.iter().any(|it| neighbour_of(it) == Some((*guest, &wanted.mac))) {
                let add =
                    self.kernel.neighbours().add(tap.index, *guest).link_layer_address(&wanted.mac).replace();
                add.execute().await.map_err(failure("name a guest's MAC"))?;
                changes += 1;
            }
        }
        if let Some(network) = wanted.network
            && !routes.iter().any(|it| leads_into(it, network))
        {
            let add = self.kernel.route().add(network_route(tap.index, network)?).replace();
            add.execute().await.map_err(failure("route a guest's network"))?;
            changes += 1;
        }
        Ok(changes)
    }

    /// Takes routes and neighbours away that belong to nobody, and counts them.
    async fn drop_stale(
        &self,
        wanted: &Wanted,
        routes: &[RouteMessage],
        neighbours: &[NeighbourMessage],
    ) -> Result<u32, DriverError> {
        let mut changes = 0;
        let guests = |route: &RouteMessage| {
            wanted.guest.iter().any(|it| leads_to(route, *it))
                || wanted.network.is_some_and(|network| leads_into(route, network))
        };
        let ours = |route: &RouteMessage| route.header.protocol != RouteProtocol::Kernel;
        for stale in routes.iter().filter(|it| ours(it) && !guests(it)) {
            vanished(self.kernel.route().del(stale.clone()).execute().await, "take away a stale route")?;
            changes += 1;
        }
        let known =
            |it: &NeighbourMessage| neighbour_of(it).is_some_and(|(ip, _)| wanted.guest.contains(&ip));
        let permanent = |it: &NeighbourMessage| it.header.state == NeighbourState::Permanent;
        for stale in neighbours.iter().filter(|it| permanent(it) && !known(it)) {
            vanished(
                self.kernel.neighbours().del(stale.clone()).execute().await,
                "take away a stale neighbour",
            )?;
            changes += 1;
        }
        Ok(changes)
    }

    async fn addresses(&self, tap: &Tap) -> Result<Vec<AddressMessage>, DriverError> {
        let _listing = self.listing.lock().await;
        let mut request = self.kernel.address().get();
        request.message_mut().header.index = tap.index;
        request.execute().try_collect().await.map_err(failure("list a tap's addresses"))
    }

    /// Routes of the main table that lead out of the tap.
    async fn routes(&self, tap: &Tap) -> Result<Vec<RouteMessage>, DriverError> {
        let _listing = self.listing.lock().await;
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().get_mut().clone();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().get_mut().clone();
        let mut found = Vec::new();
        for mut asked in [v4, v6] {
            asked.header.protocol = RouteProtocol::Unspec;
            asked.header.kind = RouteType::Unspec;
            asked.header.table = RouteHeader::RT_TABLE_MAIN;
            asked.attributes = vec![RouteAttribute::Oif(tap.index)];
            let routes = self.kernel.route().get(asked).execute();
            let routes: Vec<RouteMessage> =
                routes.try_collect().await.map_err(failure("list a tap's routes"))?;
            found.extend(routes);
        }
        Ok(found)
    }

    async fn neighbours(&self, tap: &Tap) -> Result<Vec<NeighbourMessage>, DriverError> {
        let _listing = self.listing.lock().await;
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let request = self.kernel.neighbours().get().set_address_family(family);
            let mut answers = request.execute();
            while let Some(it) = answers.try_next().await.map_err(failure("list a tap's neighbours"))? {
                found.extend((it.header.ifindex == tap.index).then_some(it));
            }
        }
        Ok(found)
    }

    /// Removes a tap with its addresses, routes and neighbours. Absent is fine.
    pub async fn remove(&self, name: &str) -> Result<(), DriverError> {
        let Some(tap) = self.find(name).await? else { return Ok(()) };
        tap.checked()?;
        vanished(self.kernel.link().del(tap.index).execute().await, "remove a tap")
    }
}

impl Tap {
    /// Refuses a link that only has a tap's name.
    pub fn checked(&self) -> Result<(), DriverError> {
        if self.is_tap() {
            return Ok(());
        }
        Err(DriverError::Fatal(format!(
            "{} is not a tap: something else on this host took the name",
            self.name
        )))
    }

    fn is_tap(&self) -> bool {
        self.kind == Some(InfoKind::Tun)
    }

    /// Bytes that the host received on the tap and sent to it.
    pub fn bytes(&self) -> (u64, u64) {
        (self.stats.rx_bytes, self.stats.tx_bytes)
    }
}

fn read(link: LinkMessage) -> Tap {
    let up = link.header.flags.contains(LinkFlags::Up);
    let mut tap = Tap {
        index: link.header.index,
        up,
        mtu: 0,
        stats: Stats64::default(),
        kind: None,
        name: String::new(),
    };
    for attribute in link.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => tap.mtu = mtu,
            LinkAttribute::Stats64(stats) => tap.stats = stats,
            LinkAttribute::IfName(name) => tap.name = name,
            LinkAttribute::LinkInfo(infos) => {
                tap.kind = infos.into_iter().find_map(|it| match it {
                    LinkInfo::Kind(kind) => Some(kind),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    tap
}

fn address_of(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    message.attributes.iter().find_map(|it| match it {
        AddressAttribute::Address(address) => Some((*address, message.header.prefix_len)),
        _ => None,
    })
}

fn neighbour_of(message: &NeighbourMessage) -> Option<(IpAddr, &Vec<u8>)> {
    let address = message.attributes.iter().find_map(|it| match it {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })?;
    let mac = message.attributes.iter().find_map(|it| match it {
        NeighbourAttribute::LinkLayerAddress(mac) => Some(mac),
        _ => None,
    })?;
    (message.header.state == NeighbourState::Permanent).then_some((address, mac))
}

/// Whether the route is the host route to exactly this guest.
fn leads_to(route: &RouteMessage, guest: IpAddr) -> bool {
    let whole = if guest.is_ipv4() { 32 } else { 128 };
    route.header.destination_prefix_length == whole
        && route.attributes.iter().any(|it| match (it, guest) {
            (RouteAttribute::Destination(RouteAddress::Inet(ip)), IpAddr::V4(guest)) => *ip == guest,
            (RouteAttribute::Destination(RouteAddress::Inet6(ip)), IpAddr::V6(guest)) => *ip == guest,
            _ => false,
        })
}

/// Whether the route leads into exactly this network, by way of that address.
fn leads_into(route: &RouteMessage, (network, prefix, via): (Ipv6Addr, u8, Ipv6Addr)) -> bool {
    let has = |wanted: RouteAttribute| route.attributes.contains(&wanted);
    route.header.destination_prefix_length == prefix
        && has(RouteAttribute::Destination(RouteAddress::Inet6(network)))
        && has(RouteAttribute::Gateway(RouteAddress::Inet6(via)))
}

fn network_route(
    index: u32,
    (network, prefix, via): (Ipv6Addr, u8, Ipv6Addr),
) -> Result<RouteMessage, DriverError> {
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(network.into(), prefix)
        .and_then(|route| route.gateway(via.into()))
        .map_err(DriverError::fatal)?
        .output_interface(index);
    Ok(route.build())
}

fn host_route(index: u32, guest: IpAddr) -> Result<RouteMessage, DriverError> {
    let (whole, scope) = if guest.is_ipv4() { (32, RouteScope::Link) } else { (128, RouteScope::Universe) };
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(guest, whole)
        .map_err(DriverError::fatal)?
        .output_interface(index)
        .scope(scope);
    Ok(route.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mac_of_one_card_is_a_mac() {
        assert_eq!(mac("52:54:00:00:00:0a").unwrap(), [0x52, 0x54, 0, 0, 0, 0x0a]);
        for wrong in [
            "",
            "52:54:00:00:00",
            "52:54:00:00:00:0a:0b",
            "ff:ff:ff:ff:ff:ff",
            "52:54:00:00:0:0aa",
            "+2:54:00:00:00:0a",
        ] {
            assert!(mac(wrong).is_err(), "{wrong}");
        }
    }
}

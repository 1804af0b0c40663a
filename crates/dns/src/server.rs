//! The sockets: UDP and TCP on one port.
//!
//! A datagram is answered where it was read, so that nothing waits in memory; what comes faster than that is dropped by
//! the kernel. Connections are limited in number, in all and from one place, in how long they may be silent and how long
//! they may last. Must not know: what is answered.

use crate::answer::{Reply, Transport, answer};
use crate::zone::Snapshot;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The largest request that is read, bytes; a question with all its trimmings has a few hundred.
const LARGEST_REQUEST: usize = 4096;
/// Tasks that read one UDP socket.
const READERS: usize = 2;
/// The pause after an error of a socket, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);
/// Ports that are tried until one is free for UDP and TCP, when any will do.
const TRIES: usize = 16;

/// What is served now. A new snapshot takes the place of the old one at once; requests under way keep theirs.
#[derive(Debug, Default)]
pub struct Served(RwLock<Arc<Snapshot>>);

impl Served {
    /// What is served now.
    pub fn current(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on this is served.
    pub fn swap(&self, snapshot: Snapshot) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

/// How much strangers may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Who may have whole zones.
    pub transfers: Vec<IpAddr>,
    /// Connections at one time.
    pub connections: usize,
    /// Connections at one time from one IPv4 address or IPv6 /64.
    pub connections_from_one: usize,
    /// How long a connection may be silent, or take nothing of what is sent.
    pub idle: Duration,
    /// How long a connection may last, and a transfer on it.
    pub life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transfers: Vec::new(),
            connections: 256,
            connections_from_one: 32,
            idle: Duration::from_secs(10),
            life: Duration::from_secs(120),
        }
    }
}

impl Limits {
    fn may_transfer(&self, from: IpAddr) -> bool {
        self.transfers.iter().any(|allowed| allowed.to_canonical() == from.to_canonical())
    }
}

/// An address that is listened on by UDP and TCP.
#[derive(Debug)]
pub struct Bound {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Bound {
    /// Takes an address. With port 0 a port that is free for both.
    ///
    /// # Errors
    /// When somebody else has it, or it is not this host's.
    pub async fn new(address: SocketAddr) -> io::Result<Self> {
        let mut tries = 0;
        loop {
            tries += 1;
            let udp = UdpSocket::bind(address).await?;
            match TcpListener::bind(udp.local_addr()?).await {
                Ok(tcp) => return Ok(Self { udp, tcp }),
                Err(why) if address.port() != 0 || tries == TRIES => return Err(why),
                Err(_) => {}
            }
        }
    }

    /// The address, with its port.
    ///
    /// # Errors
    /// None that is known.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Serves until `stop`.
pub async fn serve(served: Arc<Served>, bound: Vec<Bound>, limits: Limits, stop: CancellationToken) {
    let shared = Arc::new(Shared { served, limits, open: Mutex::default() });
    let mut tasks = JoinSet::new();
    for Bound { udp, tcp } in bound {
        let udp = Arc::new(udp);
        for _ in 0..READERS {
            tasks.spawn(datagrams(Arc::clone(&shared), Arc::clone(&udp)));
        }
        tasks.spawn(connections(Arc::clone(&shared), tcp));
    }
    stop.cancelled().await;
    tasks.shutdown().await;
}

struct Shared {
    served: Arc<Served>,
    limits: Limits,
    /// Connections from each place.
    open: Mutex<HashMap<IpAddr, usize>>,
}

async fn datagrams(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; LARGEST_REQUEST];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(%error, "a datagram could not be read");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // Nobody can be there.
        if from.port() == 0 {
            continue;
        }
        let request = buffer.get(..length).unwrap_or_default();
        let may_transfer = shared.limits.may_transfer(from.ip());
        if let Reply::Message(reply) = answer(&shared.served.current(), request, Transport::Udp, may_transfer)
            && let Err(error) = socket.send_to(&reply, from).await
        {
            tracing::debug!(%error, %from, "a reply could not be sent");
        }
    }
}

async fn connections(shared: Arc<Shared>, listener: TcpListener) {
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = Place::take(&shared, from.ip(), open.len()) else {
            tracing::debug!(%from, "too many connections; one is closed");
            continue;
        };
        let life = shared.limits.life;
        open.spawn(async move {
            // How a stranger's connection ends is nothing to tell of.
            let _ = tokio::time::timeout(life, converse(&place, stream, from.ip())).await;
        });
    }
}

/// A connection that counts; it no longer does when this is dropped.
struct Place {
    shared: Arc<Shared>,
    from: IpAddr,
}

impl Place {
    fn take(shared: &Arc<Shared>, from: IpAddr, open: usize) -> Option<Self> {
        if open >= shared.limits.connections {
            return None;
        }
        let from = network_of(from);
        let mut counts = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(from).or_default();
        if *count >= shared.limits.connections_from_one {
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), from })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.from);
            }
        }
    }
}

/// What counts as one place: an IPv4 address, or a /64, within which a host has as many addresses as it likes.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Answers the requests of a connection, one after the other.
async fn converse(place: &Place, mut stream: TcpStream, from: IpAddr) -> io::Result<()> {
    let shared = &place.shared;
    let may_transfer = shared.limits.may_transfer(from);
    let mut request = Vec::new();
    loop {
        within(shared, read(&mut stream, &mut request)).await?;
        match answer(&shared.served.current(), &request, Transport::Tcp, may_transfer) {
            Reply::Silence => return Ok(()),
            Reply::Message(reply) => within(shared, write(&mut stream, &reply)).await?,
            Reply::Transfer(transfer) => {
                tracing::info!(%from, serial = transfer.serial(), "a zone is transferred");
                for message in transfer {
                    within(shared, write(&mut stream, &message)).await?;
                }
            }
        }
    }
}

async fn within<T>(shared: &Shared, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(shared.limits.idle, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn read(stream: &mut TcpStream, request: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::from(stream.read_u16().await?);
    if length > LARGEST_REQUEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    request.resize(length, 0);
    stream.read_exact(request).await.map(drop)
}

/// Length and message in one piece: some clients take what comes in two for two messages.
async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut bytes = Vec::with_capacity(message.len() + 2);
    bytes.extend(length.to_be_bytes());
    bytes.extend(message);
    stream.write_all(&bytes).await
}

//! Whole network stacks around the host's: guests behind their taps, and the world behind a wire. Each lives in a namespace
//! of its own; what passes between two of them has passed the host.

use crate::frames::ones_complement;
use crate::ground::sh;
use bulut_compute::Nic;
use bulut_compute::qemu::network::TapHandle;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The host's end of the wire, and the world's.
pub const HERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const WORLD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
pub const WORLD6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);

/// How long something may take that has to work, on a busy machine; and how long something is waited for that must not.
pub const LONG: Duration = Duration::from_secs(10);
pub const SHORT: Duration = Duration::from_millis(400);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, and a thread that works in it.
pub struct Place {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    tid: i32,
}

impl Place {
    pub fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            inbox.iter().for_each(|job| job());
        });
        let tid = told.recv().unwrap();
        let place = Self { jobs: Some(jobs), thread: Some(thread), tid };
        place.sh("ip link set lo up");
        place
    }

    /// Does something there and waits for it.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = move || drop(tell.send(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))));
        self.jobs.as_ref().unwrap().send(Box::new(job)).unwrap();
        told.recv().unwrap().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub fn sh(&self, command: &str) -> String {
        let command = command.to_owned();
        self.run(move || sh(&command))
    }

    /// The world outside: it reaches guests through the host, and the host by a wire.
    pub fn world() -> Self {
        let world = Self::new();
        sh(&format!("ip link add wire type veth peer name world netns {}", world.tid));
        sh(&format!(
            "ip addr add {HERE}/24 dev wire; ip addr add 2001:db8:1::1/64 dev wire nodad; ip link set wire up"
        ));
        world.sh(&format!(
            "ip addr add {WORLD}/24 dev world; ip addr add {WORLD6}/64 dev world nodad; ip link set world up"
        ));
        world.sh(&format!("ip route add default via {HERE}; ip -6 route add default via 2001:db8:1::1"));
        world
    }

    /// Listens on a TCP port of all addresses until it is dropped.
    pub fn listens(&self, port: u16) -> TcpListener {
        let until = Instant::now() + LONG;
        self.run(move || {
            loop {
                // A process that another test begins at this moment has the last listener's descriptor until it is itself.
                match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < until => {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    bound => return bound.unwrap(),
                }
            }
        })
    }

    /// A connection to somebody who listens, if there is one within the time.
    pub fn connects(&self, to: SocketAddr, within: Duration) -> Option<TcpStream> {
        self.run(move || TcpStream::connect_timeout(&to, within).ok())
    }

    /// Whether a datagram arrives at `at`.
    pub fn tells(&self, other: &Self, at: SocketAddr, within: Duration) -> bool {
        let port = at.port();
        let ear = other.run(move || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
        ear.set_read_timeout(Some(within)).unwrap();
        let nowhere: IpAddr =
            if at.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        self.run(move || UdpSocket::bind((nowhere, 0)).unwrap().send_to(b"word", at).is_ok())
            && ear.recv(&mut [0; 8]).is_ok()
    }

    /// Whether an echo request is answered.
    pub fn pings(&self, to: IpAddr, within: Duration) -> bool {
        self.run(move || ping(to, within))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ping(to: IpAddr, within: Duration) -> bool {
    let (family, protocol, request, reply, skip) = match to {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, 8, 0, 20),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, 128, 129, 0),
    };
    let fd: OwnedFd = socket(family, SockType::Raw, SockFlag::empty(), protocol).unwrap();
    // A raw socket sends and receives as a datagram socket does; ports mean nothing.
    // SAFETY: the descriptor is a socket that nobody else owns.
    let socket = unsafe { UdpSocket::from_raw_fd(fd.into_raw_fd()) };
    socket.set_read_timeout(Some(within)).unwrap();
    let mut message = [request, 0, 0, 0, 7, 7, 0, 1];
    if to.is_ipv4() {
        let sum = ones_complement(&[&message]).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    socket.send_to(&message, (to, 0)).unwrap();
    let until = Instant::now() + within;
    let mut answer = [0; 128];
    while Instant::now() < until {
        match socket.recv_from(&mut answer) {
            Ok((length, from)) if from.ip() == to && length > skip && answer[skip] == reply => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    false
}

/// A guest with a stack of its own: what the hypervisor and the guest's kernel do, done by another kernel's tap.
pub struct Stack {
    pub place: Place,
    stop: Arc<AtomicBool>,
    relays: Vec<JoinHandle<()>>,
}

impl Stack {
    /// The guest behind a tap, with the addresses that its seed would give it.
    pub fn new(tap: TapHandle, nic: &Nic) -> Self {
        let place = Place::new();
        let guest = place.run(|| open_tap("eth0"));
        let mut setup = format!("ip link set eth0 address {} mtu {} up\n", nic.mac, nic.mtu);
        if let Some(v4) = nic.ipv4 {
            setup += &format!("ip addr add {}/{} dev eth0\n", v4.address, v4.prefix);
            setup += &format!("ip route add default via {}\n", v4.gateway);
        }
        for more in &nic.more_ipv4 {
            setup += &format!("ip addr add {more}/32 dev eth0\n");
        }
        if let Some(v6) = nic.ipv6 {
            setup += &format!("ip addr add {}/{} dev eth0 nodad\n", v6.address, v6.prefix);
            setup += &format!("ip -6 route add default via {} dev eth0\n", v6.gateway);
        }
        place.sh(&setup);
        offload(&tap.fd);
        let stop = Arc::new(AtomicBool::new(false));
        let (host, guest) = (Arc::new(File::from(tap.fd)), Arc::new(guest));
        let relay = |from: &Arc<File>, to: &Arc<File>| {
            let (from, to, stop) = (Arc::clone(from), Arc::clone(to), Arc::clone(&stop));
            std::thread::spawn(move || carry(&from, &to, &stop))
        };
        let relays = vec![relay(&host, &guest), relay(&guest, &host)];
        Self { place, stop, relays }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for relay in self.relays.drain(..) {
            let _ = relay.join();
        }
    }
}

/// Carries frames until it is stopped.
fn carry(mut from: &File, mut to: &File, stop: &AtomicBool) {
    let mut frame = vec![0; 72 * 1024];
    while !stop.load(Ordering::Relaxed) {
        let mut waits = libc::pollfd { fd: from.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which lives through the call.
        let ready = unsafe { libc::poll(&raw mut waits, 1, 50) };
        if ready > 0
            && let Ok(length) = from.read(&mut frame)
        {
            // A tap that is down takes nothing.
            let _ = to.write(&frame[..length]);
        }
    }
}

fn open_tap(name: &str) -> File {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: an ifreq of zeros is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR).unwrap();
    // SAFETY: the descriptor is open and `request` is the ifreq that this request reads.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    offload(&file);
    file
}

/// Takes large packets as they are, as a guest's virtio card does.
fn offload(tap: &impl AsRawFd) {
    const CHECKSUMS_AND_SEGMENTS: libc::c_ulong = 1 | 2 | 4;
    // SAFETY: the descriptor is a tap; the argument is an integer.
    let done = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETOFFLOAD, CHECKSUMS_AND_SEGMENTS) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Bits per second of one connection from `from` to `to`, as `to` sees them over about `span`.
pub fn speed(from: &Place, to: &Place, at: SocketAddr, span: Duration) -> f64 {
    let ear = to.listens(at.port());
    let reader = std::thread::spawn(move || {
        let (mut stream, _) = ear.accept().unwrap();
        let (mut bytes, mut buffer) = (0, vec![0; 1 << 16]);
        let begun = Instant::now();
        while let Ok(length) = stream.read(&mut buffer) {
            if length == 0 || begun.elapsed() > span {
                break;
            }
            bytes += length;
        }
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more")]
        let bits = 8.0 * bytes as f64;
        bits / begun.elapsed().as_secs_f64()
    });
    let mut stream = from.connects(at, LONG).expect("who measures has to be connected");
    let data = vec![0x55; 1 << 16];
    // Ends when the other side has seen enough.
    while stream.write_all(&data).is_ok() {}
    reader.join().unwrap()
}

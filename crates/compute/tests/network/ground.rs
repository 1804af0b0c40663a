//! The ground of the tests: namespaces, the driver's network in them, and what an administrator sees of it.

use crate::frames::{GATEWAY, GATEWAY6, OWN, OWN6};
use bulut_compute::qemu::network::{Routed, RoutedConfig, TapHandle};
use bulut_compute::{Ipv4, Ipv6, Nic, PoolNetwork, Rates};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// How long a frame may be on its way on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the body in a network namespace of its own, on a thread of its own; `false` where there is no root.
pub fn in_namespace<F>(body: impl FnOnce() -> F + Send + 'static) -> bool
where
    F: Future<Output = ()>,
{
    in_namespace_on(&mut tokio::runtime::Builder::new_current_thread(), body)
}

/// The same on several threads.
pub fn in_namespace_with_threads<F>(body: impl FnOnce() -> F + Send + 'static) -> bool
where
    F: Future<Output = ()>,
{
    in_namespace_on(tokio::runtime::Builder::new_multi_thread().worker_threads(4), body)
}

fn in_namespace_on<F>(builder: &mut Builder, body: impl FnOnce() -> F + Send + 'static) -> bool
where
    F: Future<Output = ()>,
{
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: network namespaces need root");
        return false;
    }
    builder.enable_all();
    let mut builder = std::mem::replace(builder, Builder::new_current_thread());
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        sh("ip link set lo up");
        // Its threads are in the namespace of the one that makes them.
        builder.build().unwrap().block_on(body());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
    true
}

pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn nic() -> Nic {
    Nic {
        mac: "52:54:00:00:00:14".into(),
        ipv4: Some(Ipv4 { address: OWN, prefix: 26, gateway: GATEWAY }),
        ipv6: Some(Ipv6 { address: OWN6, prefix: 128, gateway: GATEWAY6 }),
        resolvers: vec![],
        more_ipv4: vec![],
        mtu: 1500,
        firewall: vec![],
        rates: Rates::default(),
    }
}

pub async fn routed() -> Routed {
    let pools = vec![private(Ipv4Addr::new(10, 77, 0, 0).into(), 26), private(OWN6.into(), 64)];
    Routed::new(RoutedConfig { pools, ..RoutedConfig::default() }).await.unwrap()
}

/// A network whose addresses are masqueraded.
pub fn private(address: IpAddr, prefix: u8) -> PoolNetwork {
    PoolNetwork { address, prefix, private: true }
}

/// All that an administrator could see: links, addresses, routes, neighbours, rules.
pub fn visible() -> String {
    [
        "ip -d link show type tun",
        "ip addr",
        "ip route",
        "ip -6 route",
        "ip neigh show nud permanent",
        "nft list ruleset inet",
        "nft list ruleset netdev",
    ]
    .map(|it| format!("# {it}\n{}", sh(it)))
    .concat()
}

/// What is visible, without regard to the order, which is the kernel's.
pub fn tidy(visible: &str) -> Vec<String> {
    let mut lines: Vec<String> = visible.lines().map(|it| it.trim().to_owned()).collect();
    lines.sort();
    lines
}

pub struct Guest(File);

impl Guest {
    pub fn of(tap: TapHandle) -> Self {
        assert!(tap.vnet_hdr);
        Self(File::from(tap.fd))
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.0.write_all(&[&[0; 10], frame].concat()).unwrap();
    }

    /// The first frame that fits, of those that arrive within the time.
    pub fn receive(&mut self, within: Duration, fits: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(&self.0, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let until = Instant::now() + within;
        let mut frame = vec![0; 4096];
        while Instant::now() < until {
            match self.0.read(&mut frame) {
                Ok(count) if fits(&frame[10..count]) => return Some(frame[10..count].to_vec()),
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        None
    }
}

/// The host's own MAC on a tap.
pub fn mac_of(tap: &str) -> Vec<u8> {
    let text = sh(&format!("ip -o link show {tap} | sed 's/.*ether //; s/ .*//'"));
    text.trim().split(':').map(|it| u8::from_str_radix(it, 16).unwrap()).collect()
}

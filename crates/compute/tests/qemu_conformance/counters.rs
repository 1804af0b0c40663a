//! Traffic is counted whatever happens: the sum over all epochs against what the guest itself has counted.

use crate::bench::{Bench, in_namespace};
use crate::neighbours::{booted, serve, up};
use crate::stacks::{Place, WORLD};
use bulut_compute::conformance::{Meanwhile, Subject};
use bulut_compute::{Driver as _, Networking, Observed, Power, Stop};
use bulut_model::ServerId;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const ID: ServerId = ServerId(20);
/// Bytes of one transfer.
const FILE: usize = 16 << 20;
/// Bytes of the session in which the guest tells its counters, which is not over when it does.
const IN_FLIGHT: u64 = 16 << 10;

/// Where the guest gets its file, and where it sends one.
struct World {
    address: String,
    gives: u16,
    takes: u16,
}

fn give(mut stream: TcpStream) {
    drop(stream.write_all(&vec![0x55; FILE]));
}

/// Takes all that comes, and says how much that was.
fn take(mut stream: TcpStream) {
    let (mut all, mut buffer) = (0, vec![0; 1 << 16]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        all += length;
    }
    let _ = writeln!(stream, "{all}");
}

/// Answers on the host's loopback, which a guest with user networking reaches at its gateway.
fn serve_here(answer: fn(TcpStream)) -> u16 {
    let ear = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = ear.local_addr().unwrap().port();
    std::thread::spawn(move || ear.incoming().flatten().for_each(answer));
    port
}

/// Has the guest receive one file and send half of one, and reads its counters.
async fn moves(bench: &Bench, ssh: SocketAddr, World { address, gives, takes }: &World) -> (u64, u64) {
    let half = FILE / 2;
    let command = format!(
        "nc {address} {gives} </dev/null | wc -c; head -c {half} /dev/zero | nc {address} {takes}; \
         cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes"
    );
    let said = bench.ask_at(ssh, &command).await.expect("the guest answers");
    let lines: Vec<u64> = said.lines().map(|line| line.trim().parse().unwrap()).collect();
    assert_eq!(lines[..2], [FILE as u64, half as u64], "something was lost on the way: {said}");
    (lines[2], lines[3])
}

/// What the driver says, by epoch; the last word of each counts.
#[derive(Default)]
struct Told(BTreeMap<String, (u64, u64)>);

impl Told {
    async fn look(&mut self, bench: &Bench) {
        let usage = bench.driver().usage(ID).await.unwrap();
        let counted = (usage.received_bytes, usage.sent_bytes);
        let before = self.0.insert(usage.epoch, counted).unwrap_or_default();
        assert!(
            before.0 <= counted.0 && before.1 <= counted.1,
            "a counter went back: {before:?}, {counted:?}"
        );
    }

    fn sum(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
    }
}

#[test]
fn a_guests_bytes_survive_reboots_a_dead_control_plane_and_a_killed_machine() {
    in_namespace(async {
        let bench = Bench::new(Networking::Routed).await;
        let place = Place::world();
        serve(&place, 8000, give);
        serve(&place, 9000, take);
        let world = World { address: WORLD.to_string(), gives: 8000, takes: 9000 };
        all_are_counted(&bench, &world).await;
    });
}

#[tokio::test]
async fn a_guests_bytes_survive_all_that_with_user_networking_too() {
    let bench = Bench::new(Networking::User).await;
    let gateway = bench.spec(ID).nic.ipv4.unwrap().gateway;
    let world = World { address: gateway.to_string(), gives: serve_here(give), takes: serve_here(take) };
    all_are_counted(&bench, &world).await;
}

async fn endpoint(bench: &Bench) -> SocketAddr {
    bench.qemu().ensure_machine(&bench.spec(ID)).await.unwrap().ssh
}

async fn all_are_counted(bench: &Bench, world: &World) {
    let (mut guest, mut told) = ((0, 0), Told::default());
    let mut add = |(received, sent): (u64, u64)| guest = (guest.0 + received, guest.1 + sent);
    booted(bench, ID).await;
    up(bench, ID).await;
    add(moves(bench, endpoint(bench).await, world).await);
    told.look(bench).await;
    // The guest begins to count anew, the epoch goes on.
    bench.driver().reboot(ID, Stop::Force).await.unwrap();
    told.look(bench).await;
    up(bench, ID).await;
    // Nobody looks while these pass, and then the machine is killed.
    let ssh = endpoint(bench).await;
    bench.close();
    add(moves(bench, ssh, world).await);
    bench.reopen(Meanwhile::Kill(ID)).await.unwrap();
    told.look(bench).await;
    bench.driver().start(ID).await.unwrap();
    told.look(bench).await;
    up(bench, ID).await;
    add(moves(bench, endpoint(bench).await, world).await);
    bench.kill(ID).await;
    let runs = async || match bench.driver().observe(ID).await.unwrap() {
        Observed::Present(present) => present.power == Power::Running,
        Observed::Absent => panic!("the machine is absent"),
    };
    while runs().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    told.look(bench).await;
    assert_eq!(told.0.len(), 2, "a reboot is no new epoch, a start is: {:?}", told.0);
    let sum = told.sum();
    println!("the guest counted {guest:?}, the driver {sum:?}");
    for (what, ours, theirs) in [("received", sum.0, guest.0), ("sent", sum.1, guest.1)] {
        let allowed = theirs / 1000 + 3 * IN_FLIGHT;
        assert!(ours.abs_diff(theirs) <= allowed, "{what}: {ours}, the guest says {theirs}");
    }
}

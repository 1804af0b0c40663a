//! Real guests beside each other on routed taps: whom they reach and who reaches them, and what a hostile one cannot do.

use crate::bench::{Bench, in_namespace, output};
use crate::capture::Capture;
use crate::frames::{self, GATEWAY, GATEWAY6, NEIGHBOUR, NEIGHBOUR6, OWN, OWN6};
use crate::stacks::{HERE, LONG, Place, WORLD, WORLD6};
use bulut_compute::conformance::Subject;
use bulut_compute::{Ipv6, Networking, Nic, Stop};
use bulut_model::ServerId;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

const ONE: ServerId = ServerId(20);
const TWO: ServerId = ServerId(21);
/// Has an IPv6 address and nothing else.
const MODERN: ServerId = ServerId(22);

/// The host's end of the wire, as the world sees whom it translates.
const HERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

/// Serves one connection after the other, out there, as long as the test's process lives.
pub fn serve(place: &Place, port: u16, answer: impl Fn(TcpStream) + Send + 'static) {
    let ear = place.listens(port);
    std::thread::spawn(move || ear.incoming().flatten().for_each(answer));
}

pub async fn booted(bench: &Bench, id: ServerId) {
    let driver = bench.driver();
    let spec = bench.spec(id);
    driver.ensure_disk(&spec).await.unwrap();
    driver.ensure_machine(&spec).await.unwrap();
    driver.start(id).await.unwrap();
}

pub async fn up(bench: &Bench, id: ServerId) {
    let until = Instant::now() + bench.patience();
    while bench.guest_boot(id).await.is_none() {
        assert!(Instant::now() < until, "guest {id} does not boot");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What the guest says, which has to succeed.
pub async fn says(bench: &Bench, at: impl Into<IpAddr>, command: &str) -> String {
    let said = bench.ask_at(SocketAddr::new(at.into(), 22), command).await;
    said.unwrap_or_else(|| panic!("{command} fails"))
}

/// A resolver that has one answer for every name.
fn resolver(place: &Place, address: std::net::Ipv4Addr) {
    let socket = place.run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 53)).unwrap());
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let mut answer = question[..length].to_vec();
            let is_ipv4 = answer[length - 4..] == [0, 1, 0, 1];
            answer[2..4].copy_from_slice(&[0x81, 0x80]);
            answer[7] = u8::from(is_ipv4);
            if is_ipv4 {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend(address.octets());
            }
            let _ = socket.send_to(&answer, from);
        }
    });
}

#[test]
fn guests_reach_each_other_and_the_world_in_both_families() {
    in_namespace(async {
        let bench = Bench::new(Networking::Routed).await;
        let modern = bench.spec(MODERN).nic;
        let modern = Nic {
            ipv4: None,
            ipv6: Some(Ipv6 { prefix: 64, address: "fd77:0:0:22::1".parse().unwrap(), gateway: GATEWAY6 }),
            resolvers: vec![WORLD6.into()],
            mtu: 1400,
            ..modern
        };
        let modern6 = modern.ipv6.unwrap().address;
        bench.set_nic(MODERN, modern);
        let world = Place::world();
        serve(&world, 8080, |mut stream| {
            let who = stream.peer_addr().unwrap().ip().to_canonical();
            let _ = write!(stream, "{who}");
        });
        resolver(&world, std::net::Ipv4Addr::new(192, 0, 2, 77));
        for id in [ONE, TWO, MODERN] {
            booted(&bench, id).await;
        }
        for id in [ONE, TWO, MODERN] {
            up(&bench, id).await;
        }
        let banner = |to: IpAddr| format!("nc {to} 22 </dev/null | head -c 4");
        for (at, to) in [
            (IpAddr::from(OWN), IpAddr::from(NEIGHBOUR)),
            (OWN6.into(), NEIGHBOUR6.into()),
            (NEIGHBOUR.into(), OWN.into()),
            (OWN6.into(), modern6.into()),
            (modern6.into(), NEIGHBOUR6.into()),
        ] {
            assert_eq!(says(&bench, at, &banner(to)).await, "SSH-", "{at} does not reach {to}");
        }
        for (at, to, seen) in [
            (IpAddr::from(OWN), IpAddr::from(WORLD), IpAddr::from(HERE)),
            (OWN6.into(), WORLD6.into(), HERE6.into()),
            (modern6.into(), WORLD6.into(), modern6.into()),
        ] {
            let said = says(&bench, at, &format!("nc {to} 8080 </dev/null")).await;
            assert_eq!(said, seen.to_string(), "{at} is seen by {to} as another");
        }
        for at in [IpAddr::from(OWN), NEIGHBOUR6.into(), modern6.into()] {
            let mut heard = [0; 4];
            let mut stream = world.connects((at, 22).into(), LONG).expect("the world reaches each guest");
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, b"SSH-");
        }
        let facts = "cat /sys/class/net/eth0/mtu; grep -c . /etc/resolv.conf; ip -4 addr show dev eth0 | grep -c inet; \
            nslookup -type=a name.example 2>/dev/null | grep -c 192.0.2.77; date +%s";
        let said = says(&bench, modern6, facts).await;
        let facts: Vec<&str> = said.lines().collect();
        assert_eq!(facts[..4], ["1400", "1", "0", "1"], "MTU, resolvers, IPv4 addresses, names: {said}");
        let now: u64 = output("date", &["+%s"]).parse().unwrap();
        assert!(facts[4].parse::<u64>().unwrap().abs_diff(now) < 120, "the guest's clock is wrong: {said}");
        // A further address is the guest's from its next boot on.
        let more = std::net::Ipv4Addr::new(198, 51, 100, 7);
        let nic = Nic { more_ipv4: vec![more], ..bench.spec(TWO).nic };
        bench.driver().forget_secrets(TWO).await.unwrap();
        bench.set_nic(TWO, nic.clone());
        bench.driver().apply_network(TWO, &nic).await.unwrap();
        bench.driver().reboot(TWO, Stop::Force).await.unwrap();
        up(&bench, TWO).await;
        assert!(world.connects((more, 22).into(), LONG).is_some(), "the further address is not reached");
        for id in [ONE, TWO, MODERN] {
            assert_eq!(bench.driver().usage(id).await.unwrap().forged_frames, 0, "an honest guest forges");
            bench.driver().remove(id).await.unwrap();
            assert_eq!(bench.left_behind(id).await, Vec::<String>::new());
        }
    });
}

/// The program that sends frames, for any guest.
fn sender(directory: &Path) -> Vec<u8> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/qemu_conformance/sender.rs");
    let program = directory.join("sender");
    let options = ["target-feature=+crt-static", "panic=abort", "strip=symbols"];
    let mut arguments: Vec<&str> = options.iter().flat_map(|it| ["-C", it]).collect();
    arguments.extend(["--edition=2021", "-o", program.to_str().unwrap(), source.to_str().unwrap()]);
    output("rustc", &arguments);
    std::fs::read(program).unwrap()
}

/// Each frame with its name behind it, where nobody but us reads it.
fn marked(frames: &[frames::Named]) -> Vec<Vec<u8>> {
    frames.iter().map(|(name, frame)| [&frame[..], format!("<{name}>").as_bytes()].concat()).collect()
}

fn names(frames: &[Vec<u8>], of: &[frames::Named]) -> BTreeSet<&'static str> {
    let has = |name: &str| {
        let mark = format!("<{name}>");
        frames.iter().any(|frame| frame.windows(mark.len()).any(|it| it == mark.as_bytes()))
    };
    of.iter().map(|(name, _)| *name).filter(|name| has(name)).collect()
}

/// Lets the guest send frames while it fetches a file, and says which of them the host saw.
async fn attack(bench: &Bench, all: &[frames::Named], wanted: usize) -> BTreeSet<&'static str> {
    let frames = marked(all);
    let file =
        frames.iter().flat_map(|it| [&u16::try_from(it.len()).unwrap().to_be_bytes(), &it[..]].concat());
    let at = SocketAddr::new(OWN.into(), 22);
    assert!(bench.put_at(at, "/tmp/frames", &file.collect::<Vec<u8>>()).await, "the guest takes no file");
    let mut capture = Capture::on("bv20");
    let command = format!(
        "nc {WORLD} 8000 </dev/null | wc -c > /tmp/got & /tmp/sender eth0 < /tmp/frames; wait; cat /tmp/got"
    );
    let said = says(bench, OWN, &command).await;
    assert_eq!(said, format!("sent {}\n{FILE}", all.len()), "the guest's own traffic suffers");
    let within = Duration::from_secs(if wanted > 0 { 10 } else { 1 });
    let seen = capture.frames(within, |seen| wanted > 0 && names(seen, all).len() >= wanted);
    names(&seen, all)
}

/// Bytes that the world sends to whoever asks.
const FILE: usize = 1 << 20;

#[test]
fn a_hostile_guest_is_neither_heard_nor_held_up_and_each_forgery_counts() {
    in_namespace(async {
        let bench = Bench::new(Networking::Routed).await;
        let world = Place::world();
        serve(&world, 8000, |mut stream| drop(stream.write_all(&vec![0x55; FILE])));
        booted(&bench, ONE).await;
        booted(&bench, TWO).await;
        up(&bench, ONE).await;
        up(&bench, TWO).await;
        let at = SocketAddr::new(OWN.into(), 22);
        assert!(
            bench.put_at(at, "/tmp/sender", &sender(&bench.path(""))).await,
            "the guest takes no program"
        );
        says(&bench, OWN, "chmod +x /tmp/sender").await;
        let (forged, honest) = (frames::forged(), frames::honest());
        let gateway_of_two = "ip neigh show dev eth0 | sort | cut -d' ' -f1,3";
        let ask_gateways = format!(
            "ping -c 1 {GATEWAY} >/dev/null; ping6 -c 1 {GATEWAY6}%eth0 >/dev/null; {gateway_of_two}"
        );
        let before = says(&bench, NEIGHBOUR, &ask_gateways).await;

        assert_eq!(
            attack(&bench, &honest, honest.len()).await.len(),
            honest.len(),
            "honest frames are held up"
        );
        let counted = async || bench.driver().usage(ONE).await.unwrap().forged_frames;
        assert_eq!(counted().await, 0, "an honest frame counts as forged");
        assert_eq!(attack(&bench, &forged, 0).await, BTreeSet::new(), "the host heard a forgery");
        assert_eq!(counted().await, forged.len() as u64, "not each forgery was counted");
        assert_eq!(says(&bench, NEIGHBOUR, &ask_gateways).await, before, "the neighbour believes it");

        // With nobody there who would mend them, the rules are taken away: what is seen above has to come from them.
        bench.close();
        output("nft", &["flush", "chain", "netdev", "bulut4", "bv20"]);
        let seen = attack(&bench, &forged, forged.len()).await;
        let missed: Vec<_> = forged.iter().map(|it| it.0).filter(|it| !seen.contains(it)).collect();
        assert!(
            missed.is_empty(),
            "without the rules these are not seen either, so that they prove nothing: {missed:?}"
        );
        bench.open().await.unwrap();
        assert_eq!(
            attack(&bench, &forged, 0).await,
            BTreeSet::new(),
            "the next driver does not mend the rules"
        );
        assert_eq!(counted().await, 2 * forged.len() as u64);
    });
}

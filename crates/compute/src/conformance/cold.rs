//! Laws that never wait for a guest. Each makes its own machines and leaves nothing of them.

use super::{
    Law, Meanwhile, Subject, Succeeded, Verdict, clear, demand, falls, gone, hinted, laws, make, present,
    running, stopped,
};
use crate::{Console, DriverError, Nic, Observed, Power, Rates, SetupStatus, Stop};
use bulut_model::ServerId;
use bulut_model::firewall::{Action, Direction, FirewallRule, Protocol};
use std::collections::BTreeSet;
use std::time::Duration;

/// Every cold law.
pub const COLD: &[Law] = laws![
    an_unknown_machine_is_absent_and_gone,
    making_twice_is_making_once,
    a_machine_that_was_never_made_does_not_start,
    a_half_made_machine_is_removed,
    a_disk_grows_and_never_shrinks,
    starting_twice_is_starting_once,
    stopping_twice_is_stopping_once,
    every_start_is_another_epoch,
    a_reboot_starts_a_stopped_machine,
    a_crash_is_seen_hinted_and_survived,
    all_machines_are_observed_and_no_others,
    a_reopened_driver_finds_what_ran_running,
    a_death_while_nobody_looked_is_seen,
    a_machine_that_does_not_run_has_no_console,
    secrets_are_forgotten_twice_and_the_machine_starts,
    a_running_machine_is_removed,
    a_network_is_changed_while_the_machine_runs_on,
];

/// Of a machine that nobody made, every verb says so, and removing it is fine.
pub async fn an_unknown_machine_is_absent_and_gone(subject: &dyn Subject, id: ServerId) -> Verdict {
    let driver = subject.driver();
    let observed = driver.observe(id).await.when("observe")?;
    demand(observed == Observed::Absent, || format!("it is {observed:?}"))?;
    gone(driver.apply_network(id, &subject.spec(id).nic).await, "apply_network")?;
    gone(driver.start(id).await, "start")?;
    gone(driver.stop(id, Stop::Force).await, "stop")?;
    gone(driver.reboot(id, Stop::Force).await, "reboot")?;
    gone(driver.console(id, Console::Serial).await, "console")?;
    gone(driver.serial_log(id, 10).await, "serial_log")?;
    gone(driver.forget_secrets(id).await, "forget_secrets")?;
    gone(driver.usage(id).await, "usage")?;
    driver.remove(id).await.when("remove")?;
    clear(subject, id).await
}

/// The second making answers as the first and changes nothing.
pub async fn making_twice_is_making_once(subject: &dyn Subject, id: ServerId) -> Verdict {
    let spec = make(subject, id).await?;
    let driver = subject.driver();
    let first = driver.ensure_machine(&spec).await.when("ensure_machine")?;
    make(subject, id).await?;
    let second = driver.ensure_machine(&spec).await.when("ensure_machine")?;
    demand(first == second, || format!("first {first:?}, then {second:?}"))?;
    stopped(subject, id).await?;
    driver.start(id).await.when("start")?;
    let epoch = running(subject, id).await?;
    make(subject, id).await?;
    let after = running(subject, id).await?;
    demand(epoch == after, || "making it again restarted it".to_owned())?;
    clear(subject, id).await
}

/// Starting needs the whole machine, and its refusal is `Gone`: there is nothing to retry.
pub async fn a_machine_that_was_never_made_does_not_start(subject: &dyn Subject, id: ServerId) -> Verdict {
    let driver = subject.driver();
    gone(driver.start(id).await, "start of nothing")?;
    driver.ensure_disk(&subject.spec(id)).await.when("ensure_disk")?;
    gone(driver.start(id).await, "start of a disk")?;
    clear(subject, id).await
}

/// A disk without a machine is there, so that it can be found and removed; removing twice is fine.
pub async fn a_half_made_machine_is_removed(subject: &dyn Subject, id: ServerId) -> Verdict {
    subject.driver().ensure_disk(&subject.spec(id)).await.when("ensure_disk")?;
    let half = present(subject, id).await?;
    demand(half.power == Power::Stopped, || format!("a disk alone is {half:?}"))?;
    clear(subject, id).await?;
    clear(subject, id).await
}

/// The disk follows a larger package and ignores a smaller one.
pub async fn a_disk_grows_and_never_shrinks(subject: &dyn Subject, id: ServerId) -> Verdict {
    let mut spec = make(subject, id).await?;
    let small = spec.disk_gib;
    for (asked, expected) in [(small, small), (small + 1, small + 1), (small, small + 1)] {
        spec.disk_gib = asked;
        subject.driver().ensure_disk(&spec).await.when("ensure_disk")?;
        let size = subject.disk_gib(id).await;
        demand(size == Some(expected), || {
            format!("asked for {asked} GiB, expected {expected}, it has {size:?}")
        })?;
    }
    clear(subject, id).await
}

/// The second start changes nothing: same epoch.
pub async fn starting_twice_is_starting_once(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    subject.driver().start(id).await.when("start")?;
    let first = running(subject, id).await?;
    subject.driver().start(id).await.when("start again")?;
    let second = running(subject, id).await?;
    demand(first == second, || format!("the epoch was {first} and is {second}"))?;
    clear(subject, id).await
}

/// A stop has ended the machine when it answers; stopping again, or before any start, changes nothing.
pub async fn stopping_twice_is_stopping_once(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    let driver = subject.driver();
    driver.stop(id, Stop::Force).await.when("stop before any start")?;
    stopped(subject, id).await?;
    driver.start(id).await.when("start")?;
    let epoch = running(subject, id).await?;
    driver.stop(id, Stop::Force).await.when("stop")?;
    let first = stopped(subject, id).await?;
    demand(first.epoch == epoch, || {
        format!("the epoch was {epoch}, and {} once it had stopped", first.epoch)
    })?;
    for again in [Stop::Force, Stop::Graceful { limit: Duration::from_secs(1) }] {
        driver.stop(id, again).await.when("stop again")?;
        let second = stopped(subject, id).await?;
        demand(first == second, || format!("first {first:?}, then {second:?}"))?;
    }
    let usage = driver.usage(id).await.when("usage of a stopped machine")?;
    demand(usage.epoch == epoch, || format!("usage is of {}, the last epoch was {epoch}", usage.epoch))?;
    clear(subject, id).await
}

/// Counters can be told apart by the epoch: no two starts share one.
pub async fn every_start_is_another_epoch(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    let mut epochs = BTreeSet::new();
    for nth in 1..=3 {
        subject.driver().start(id).await.when("start")?;
        epochs.insert(running(subject, id).await?);
        demand(epochs.len() == nth, || format!("{nth} starts had the epochs {epochs:?}"))?;
        subject.driver().stop(id, Stop::Force).await.when("stop")?;
    }
    clear(subject, id).await
}

/// A reboot asks for a machine that runs, so a stopped one is started.
pub async fn a_reboot_starts_a_stopped_machine(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    for how in [Stop::Force, Stop::Graceful { limit: Duration::from_secs(1) }] {
        subject.driver().reboot(id, how).await.when("reboot")?;
        running(subject, id).await?;
        subject.driver().stop(id, Stop::Force).await.when("stop")?;
    }
    clear(subject, id).await
}

/// A machine that dies by itself is stopped for a reason, whoever watches hears of it, and it starts again.
pub async fn a_crash_is_seen_hinted_and_survived(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    let driver = subject.driver();
    driver.start(id).await.when("start")?;
    let before = running(subject, id).await?;
    let mut hints = driver.watch();
    subject.kill(id).await;
    hinted(&mut hints, id).await?;
    let fallen = falls(subject, id).await?;
    demand(fallen.epoch == before, || {
        format!("it died in epoch {before}, and is said to have in {}", fallen.epoch)
    })?;
    driver.start(id).await.when("start after a crash")?;
    let after = running(subject, id).await?;
    demand(before != after, || "the start after a crash has the old epoch".to_owned())?;
    clear(subject, id).await
}

/// `observe_all` lists what was made, each as `observe` says, and nothing else.
pub async fn all_machines_are_observed_and_no_others(subject: &dyn Subject, id: ServerId) -> Verdict {
    let driver = subject.driver();
    let ids: Vec<ServerId> = (0..4).map(|it| ServerId(id.0 + it)).collect();
    for id in &ids {
        make(subject, *id).await?;
    }
    driver.start(ids[1]).await.when("start")?;
    driver.remove(ids[2]).await.when("remove")?;
    let mut expected = Vec::new();
    for id in [ids[0], ids[1], ids[3]] {
        expected.push((id, driver.observe(id).await.when("observe")?));
    }
    let mut all = Vec::new();
    for (id, observed) in driver.observe_all().await.when("observe_all")? {
        all.push((id, observed.when("observe_all")?));
    }
    all.sort_by_key(|it| it.0);
    demand(all == expected, || format!("expected {expected:?}, it lists {all:?}"))?;
    for id in ids {
        clear(subject, id).await?;
    }
    let none = driver.observe_all().await.when("observe_all")?;
    demand(none.is_empty(), || format!("when all were removed, it lists {none:?}"))
}

/// Guests outlive the control plane: what ran runs on in its epoch, what was stopped is stopped, and the new driver
/// hears of what happens next.
pub async fn a_reopened_driver_finds_what_ran_running(subject: &dyn Subject, id: ServerId) -> Verdict {
    let other = ServerId(id.0 + 1);
    make(subject, id).await?;
    make(subject, other).await?;
    subject.driver().start(id).await.when("start")?;
    let before = running(subject, id).await?;
    subject.reopen(Meanwhile::Nothing).await.when("reopen")?;
    let after = running(subject, id).await?;
    demand(before == after, || format!("the epoch was {before} and is {after}"))?;
    stopped(subject, other).await?;
    subject.driver().start(id).await.when("start of what runs")?;
    let same = running(subject, id).await?;
    demand(before == same, || "the new driver started it anew".to_owned())?;
    let mut hints = subject.driver().watch();
    subject.kill(id).await;
    hinted(&mut hints, id).await?;
    falls(subject, id).await?;
    clear(subject, id).await?;
    clear(subject, other).await
}

/// A machine that died while no driver was open is stopped, for a reason, and starts.
pub async fn a_death_while_nobody_looked_is_seen(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    subject.driver().start(id).await.when("start")?;
    let before = running(subject, id).await?;
    subject.reopen(Meanwhile::Kill(id)).await.when("reopen")?;
    falls(subject, id).await?;
    subject.driver().start(id).await.when("start")?;
    let after = running(subject, id).await?;
    demand(before != after, || "the new start has the old epoch".to_owned())?;
    clear(subject, id).await
}

/// A console needs a running machine, and nothing is known of the set-up of one that does not run.
pub async fn a_machine_that_does_not_run_has_no_console(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    let driver = subject.driver();
    demand(driver.console(id, Console::Serial).await.is_err(), || "a console was opened".to_owned())?;
    let setup = driver.setup_status(id).await.when("setup_status")?;
    demand(setup == SetupStatus::Unknown, || format!("its set-up is {setup:?}"))?;
    driver.serial_log(id, 1000).await.when("serial_log")?;
    clear(subject, id).await
}

/// Forgetting is done once, and the machine still starts, made again or not.
pub async fn secrets_are_forgotten_twice_and_the_machine_starts(
    subject: &dyn Subject,
    id: ServerId,
) -> Verdict {
    make(subject, id).await?;
    let driver = subject.driver();
    driver.forget_secrets(id).await.when("forget_secrets")?;
    driver.forget_secrets(id).await.when("forget_secrets again")?;
    driver.start(id).await.when("start")?;
    running(subject, id).await?;
    driver.forget_secrets(id).await.when("forget_secrets of a running machine")?;
    driver.stop(id, Stop::Force).await.when("stop")?;
    driver.start(id).await.when("start again")?;
    running(subject, id).await?;
    clear(subject, id).await
}

/// Removing does not ask for a stop first.
pub async fn a_running_machine_is_removed(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    subject.driver().start(id).await.when("start")?;
    running(subject, id).await?;
    clear(subject, id).await?;
    gone(subject.driver().start(id).await, "start of a removed machine")
}

/// Firewall, rates and addresses change any number of times, stopped, running and for the next driver, without a restart;
/// the MAC does not, and a machine that is only a disk has no network.
pub async fn a_network_is_changed_while_the_machine_runs_on(subject: &dyn Subject, id: ServerId) -> Verdict {
    let half = ServerId(id.0 + 1);
    subject.driver().ensure_disk(&subject.spec(half)).await.when("ensure_disk")?;
    gone(subject.driver().apply_network(half, &subject.spec(half).nic).await, "apply_network to a disk")?;
    clear(subject, half).await?;
    let spec = make(subject, id).await?;
    let driver = subject.driver();
    let rule = FirewallRule {
        direction: Direction::In,
        action: Action::Deny,
        protocol: Protocol::Tcp,
        ports: None,
        network: None,
    };
    let more = spec.nic.ipv4.map(|own| (u32::from(own.address) ^ 0x80).into());
    let changed = Nic {
        firewall: vec![rule],
        rates: Rates { up_bps: 8_000_000, down_bps: 16_000_000 },
        more_ipv4: more.into_iter().collect(),
        ..spec.nic.clone()
    };
    for nic in [&changed, &changed, &spec.nic, &changed] {
        driver.apply_network(id, nic).await.when("apply_network")?;
    }
    driver.start(id).await.when("start")?;
    let epoch = running(subject, id).await?;
    for nic in [&spec.nic, &spec.nic, &changed] {
        driver.apply_network(id, nic).await.when("apply_network to a running machine")?;
    }
    let other = Nic { mac: "52:54:00:ff:ff:ff".into(), ..changed.clone() };
    match driver.apply_network(id, &other).await {
        Err(DriverError::Fatal(_)) => {}
        answer => return Err(format!("another MAC: {answer:?}")),
    }
    drop(driver);
    subject.reopen(Meanwhile::Nothing).await.when("reopen")?;
    subject.driver().apply_network(id, &spec.nic).await.when("apply_network after a restart")?;
    let after = running(subject, id).await?;
    demand(epoch == after, || "a change of its network restarted the machine".to_owned())?;
    clear(subject, id).await
}

//! Laws about a guest that really booted. They share one machine, in this order: the first makes and boots it, the
//! last removes it. A boot is dear where it is emulated.

use super::disks::{
    a_password_set_by_the_agent_logs_in, a_snapshot_has_what_the_guest_wrote_before_and_nothing_after,
};
use super::{
    Law, Meanwhile, Subject, Succeeded, Verdict, boots, clear, demand, laws, make, running, stopped,
};
use crate::{Console, Stop, Usage};
use bulut_model::ServerId;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// Every warm law, in order.
pub const WARM: &[Law] = laws![
    a_started_guest_boots,
    counters_only_grow_within_an_epoch,
    several_serial_consoles_show_the_guest,
    a_reopened_driver_leaves_the_guest_alone,
    a_snapshot_has_what_the_guest_wrote_before_and_nothing_after,
    a_password_set_by_the_agent_logs_in,
    a_forced_reboot_boots_the_guest_anew,
    a_graceful_reboot_boots_the_guest_anew,
    a_graceful_stop_lets_the_guest_shut_down,
    a_machine_without_secrets_boots,
    nothing_is_left_of_a_machine_that_lived,
];

/// The guest of a started machine boots and can be asked.
pub async fn a_started_guest_boots(subject: &dyn Subject, id: ServerId) -> Verdict {
    make(subject, id).await?;
    subject.driver().start(id).await.when("start")?;
    boots(subject, id, None).await.map(drop)
}

async fn usage(subject: &dyn Subject, id: ServerId) -> Result<Usage, String> {
    subject.driver().usage(id).await.when("usage")
}

fn grown(before: &Usage, after: &Usage) -> Verdict {
    let pairs = [
        ("cpu_us", before.cpu_us, after.cpu_us),
        ("received_bytes", before.received_bytes, after.received_bytes),
        ("sent_bytes", before.sent_bytes, after.sent_bytes),
        ("forged_frames", before.forged_frames, after.forged_frames),
    ];
    pairs.iter().try_for_each(|(name, before, after)| {
        demand(after >= before, || format!("{name} went from {before} back to {after}"))
    })
}

/// Counters belong to the epoch that is observed, grow while the guest works, and never go back.
pub async fn counters_only_grow_within_an_epoch(subject: &dyn Subject, id: ServerId) -> Verdict {
    let epoch = running(subject, id).await?;
    let first = usage(subject, id).await?;
    let until = Instant::now() + subject.patience();
    let mut last = first.clone();
    loop {
        let next = usage(subject, id).await?;
        demand(next.epoch == epoch, || format!("usage is of {}, the machine runs in {epoch}", next.epoch))?;
        grown(&last, &next)?;
        if next.cpu_us > first.cpu_us {
            break;
        }
        demand(Instant::now() < until, || "a running guest uses no processor time".to_owned())?;
        last = next;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    demand(first.memory_bytes > 0 && first.disk_bytes > 0, || format!("memory or disk is free: {first:?}"))
}

/// Two consoles at once both answer to a key.
pub async fn several_serial_consoles_show_the_guest(subject: &dyn Subject, id: ServerId) -> Verdict {
    let driver = subject.driver();
    let mut consoles = Vec::new();
    for _ in 0..2 {
        consoles.push(driver.console(id, Console::Serial).await.when("console")?);
    }
    for console in &mut consoles {
        let answer = async {
            let mut seen = [0; 256];
            loop {
                // A getty that is just starting may swallow a key, so it is pressed again.
                console.write_all(b"\r").await?;
                let read = tokio::time::timeout(Duration::from_secs(2), console.read(&mut seen)).await;
                match read {
                    Ok(Ok(0)) => return Err(std::io::Error::other("it ended")),
                    Ok(Ok(_)) => return Ok(()),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => {}
                }
            }
        };
        let answered = tokio::time::timeout(subject.patience(), answer).await;
        answered
            .map_err(|_| "a console stays silent".to_owned())?
            .map_err(|error| format!("a console: {error}"))?;
    }
    Ok(())
}

/// The guest does not notice that its control plane started again.
pub async fn a_reopened_driver_leaves_the_guest_alone(subject: &dyn Subject, id: ServerId) -> Verdict {
    let (epoch, boot) = (running(subject, id).await?, boots(subject, id, None).await?);
    let before = usage(subject, id).await?;
    subject.reopen(Meanwhile::Nothing).await.when("reopen")?;
    let after = running(subject, id).await?;
    demand(epoch == after, || format!("the epoch was {epoch} and is {after}"))?;
    grown(&before, &usage(subject, id).await?)?;
    let same = boots(subject, id, None).await?;
    demand(boot == same, || "the guest was booted anew".to_owned())
}

async fn reboot(subject: &dyn Subject, id: ServerId, how: Stop) -> Verdict {
    let (epoch, boot) = (running(subject, id).await?, boots(subject, id, None).await?);
    let before = usage(subject, id).await?;
    subject.driver().reboot(id, how).await.when("reboot")?;
    let after = usage(subject, id).await?;
    let now = running(subject, id).await?;
    demand(after.epoch == now, || format!("usage is of {}, the machine runs in {now}", after.epoch))?;
    if now == epoch {
        grown(&before, &after)?;
    }
    boots(subject, id, Some(&boot)).await.map(drop)
}

/// The reset button boots the guest anew; counters go on, or begin anew with another epoch.
pub async fn a_forced_reboot_boots_the_guest_anew(subject: &dyn Subject, id: ServerId) -> Verdict {
    reboot(subject, id, Stop::Force).await
}

/// So does the friendly way.
pub async fn a_graceful_reboot_boots_the_guest_anew(subject: &dyn Subject, id: ServerId) -> Verdict {
    reboot(subject, id, Stop::Graceful { limit: subject.patience() }).await
}

/// The power button is enough for a guest that listens: it is not kept waiting for the limit, the last counters and
/// the serial log remain.
pub async fn a_graceful_stop_lets_the_guest_shut_down(subject: &dyn Subject, id: ServerId) -> Verdict {
    let driver = subject.driver();
    let epoch = running(subject, id).await?;
    let before = usage(subject, id).await?;
    let began = Instant::now();
    driver.stop(id, Stop::Graceful { limit: subject.patience() }).await.when("stop")?;
    demand(began.elapsed() < subject.patience(), || "the guest did not hear the power button".to_owned())?;
    stopped(subject, id).await?;
    let after = usage(subject, id).await?;
    demand(after.epoch == epoch, || format!("usage is of {}, the last epoch was {epoch}", after.epoch))?;
    grown(&before, &after)?;
    let log = driver.serial_log(id, 1 << 20).await.when("serial_log")?;
    demand(log.len() > 20, || format!("the serial log has {} bytes", log.len()))?;
    let tail = driver.serial_log(id, 10).await.when("serial_log")?;
    demand(tail[..] == log[log.len() - 10..], || "the limit does not give the last bytes".to_owned())
}

/// Once the guest has used its secrets it does not need them again.
pub async fn a_machine_without_secrets_boots(subject: &dyn Subject, id: ServerId) -> Verdict {
    subject.driver().forget_secrets(id).await.when("forget_secrets")?;
    subject.driver().start(id).await.when("start")?;
    boots(subject, id, None).await.map(drop)
}

/// The end.
pub async fn nothing_is_left_of_a_machine_that_lived(subject: &dyn Subject, id: ServerId) -> Verdict {
    clear(subject, id).await
}
